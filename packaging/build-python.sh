#!/usr/bin/env bash
# Builds CPython from its source and installs it: for the versions that a distribution lacks, and the
# free-threaded build, which Debian does not have.
#
#   packaging/build-python.sh SOURCE [--free-threaded] [--thread-sanitizer] PREFIX
#
# SOURCE is the path of a source archive, or a Debian source package such as python3.14. The package needs
# a `deb-src` entry of a suite that has it. Debian may have removed an archive that its index still names:
# `apt-get update` gets the current index, and a path needs none.
#
# The build has the shared library, which the embedded binary needs, and no profile-guided optimization.
# MAKE_JOBS sets how many compilers run, one for each processor by default. On Debian it needs
#   apt-get install build-essential libbz2-dev libffi-dev liblzma-dev libreadline-dev libsqlite3-dev \
#       libssl-dev zlib1g-dev
set -euo pipefail

usage() {
    echo "usage: packaging/build-python.sh SOURCE [--free-threaded] [--thread-sanitizer] PREFIX" >&2
    exit 2
}

options=(--enable-shared)
arguments=()
for argument in "$@"; do
    case $argument in
    --free-threaded) options+=(--disable-gil) ;;
    # mimalloc, the allocator of free-threaded builds, is not instrumented, but what it allocates is.
    --thread-sanitizer) options+=(--with-thread-sanitizer) ;;
    -*) usage ;;
    *) arguments+=("$argument") ;;
    esac
done
[ ${#arguments[@]} = 2 ] || usage
source=${arguments[0]}
mkdir -p "${arguments[1]}"
prefix=$(cd "${arguments[1]}" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ -f "$source" ]; then
    archive=$(realpath "$source")
else
    chmod 755 "$work" # apt downloads as another user
    (cd "$work" && apt-get source --quiet --tar-only "$source" >&2)
    archive=$(find "$work" -maxdepth 1 -name '*.orig.tar.*' ! -name '*.asc')
fi
mkdir "$work/source"
tar -xf "$archive" -C "$work/source" --strip-components=1
cd "$work/source"
./configure --quiet --prefix="$prefix" "${options[@]}" LDFLAGS="-Wl,-rpath,$prefix/lib"
make --quiet -j "${MAKE_JOBS:-$(nproc)}"
# Without its own tests, which take most of the space.
make --quiet install TESTSUBDIRS= >"$work/install.log" || { cat "$work/install.log" >&2; exit 1; }
"$prefix/bin/python3" -c 'import ssl, sqlite3, ctypes, lzma, bz2, zlib, sys, sysconfig
kind = "free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else "with a GIL"
print(f"{sys.executable}: CPython {sys.version.split()[0]}, {kind}")'
