"""What `gfm-lab pretrain`, `finetune`, `embed`, `score`, `generate`, `progress`, `new` and `assign` do: a module each.

Each has a function of its name that takes the parsed arguments, calls the package as a notebook would, writes its files
and prints what was found, beside baselines. Results go to standard output or files, all else to standard error. Nothing
is imported here, so that the arguments can be explained where torch is broken. Introduced in notebook 09.
"""
