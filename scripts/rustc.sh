#!/bin/sh
# rustc for this package, called by cargo (.cargo/config.toml): the program is linked statically, where
# that can be done. Each mount and each container is a process of its own, and shared libraries take some
# 80 KiB of memory of each, and a third of its start. Cargo has no way to ask that of one program: asked
# of all, macros could not be built any more.
rustc=$1
shift
words=" $* "
case $words in
    *" --crate-name vellum "*" --crate-type bin "*) ;;
    *) exec "$rustc" "$@" ;;
esac
# for another machine, or with the C library's shared form alone, it is linked as usual
case $words in
    *" --target "* | *" --target="*) exec "$rustc" "$@" ;;
esac
[ -f "$(cc -print-file-name=libc.a 2>/dev/null)" ] || exec "$rustc" "$@"
case $words in
    *'feature="pie"'*) ;;
    # build.rs says why
    *) set -- "$@" -C relocation-model=static ;;
esac
exec "$rustc" "$@" -C target-feature=+crt-static
