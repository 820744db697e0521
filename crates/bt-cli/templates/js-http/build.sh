#!/bin/sh
# Makes the component: target/{{name}}.wasm.
#
# componentize-qjs starts the program once and keeps its memory. While it does that it knows only some interfaces of WASI,
# each in one version, and those of HTTP do not fit them. So all that this app imports has other names (and a version that
# the engine itself does not import) until the component is made; names of the same length can be exchanged in it.
set -eu
rm -rf target/source
mkdir -p target/source
cp -rL ./*.js wit target/source/
sed -i 's/wasi:/wasx:/g; s/0\.2\.12/0.2.8/g' target/source/*.js target/source/wit/*.wit target/source/wit/deps/*.wit
componentize-qjs --sync --minify --module-root target/source --wit target/source/wit --js target/source/app.js \
  -o target/source/{{name}}.wasm
LC_ALL=C sed 's/wasx:/wasi:/g' target/source/{{name}}.wasm >target/{{name}}.wasm
