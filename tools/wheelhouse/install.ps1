# Install the course from this folder, without a network, in PowerShell:
#   powershell -ExecutionPolicy Bypass -File install.ps1 [FOLDER]
# FOLDER is where the course goes (default: gfm-course in your home).
param([string]$Folder = "")
$versions = "@PYTHONS@".Split(" ")
$more = @()
if ($Folder) { $more = @($Folder) }
foreach ($version in $versions) {
    & py "-$version" -c "pass" 2>$null
    if ($LASTEXITCODE -eq 0) {
        & py "-$version" (Join-Path $PSScriptRoot "install.py") @more
        exit $LASTEXITCODE
    }
}
# conda and the Microsoft Store bring no `py`.
$check = "import sys; sys.exit('%d.%d' % sys.version_info[:2] not in sys.argv[1:])"
& python -c $check @versions 2>$null
if ($LASTEXITCODE -eq 0) {
    & python (Join-Path $PSScriptRoot "install.py") @more
    exit $LASTEXITCODE
}
Write-Error "No Python of the versions $versions was found. Install one, or make the folder for the one you have."
exit 1
