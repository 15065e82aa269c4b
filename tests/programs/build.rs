//! A build in C++ by ccache: the cache's hits are told by times and sizes of the compiler's files, which
//! have to be the same in every container.

use crate::bed::debian;

/// Ten files of C++.
const SOURCES: &str = r#"
    mkdir -p /src; cd /src
    for i in 0 1 2 3 4 5 6 7 8 9; do
        printf '#include <map>\n#include <string>\nint f%s(int x) { std::map<std::string, int> m; m[std::to_string(x)] = %s; return m.begin()->second; }\n' $i $i >f$i.cc
    done
    { echo '#include <cstdio>'
      for i in 0 1 2 3 4 5 6 7 8 9; do echo "int f$i(int);"; done
      echo 'int main() { int s = 0;'
      for i in 0 1 2 3 4 5 6 7 8 9; do echo "s += f$i($i);"; done
      echo 'std::printf("%d ", s); std::puts(""); }'; } >main.cc
    printf 'o := $(patsubst %%.cc,%%.o,$(wildcard *.cc))\nprog: $(o)\n\tg++ -o $@ $^\n%%.o: %%.cc\n\tccache g++ -O0 -c -o $@ $<\nclean:\n\trm -f *.o prog\n' >Makefile
"#;

/// Builds it anew; prints what the program prints, the cache's hits and misses, and the digest of the program.
const BUILD: &str = r#"
    cd /src; export CCACHE_DIR=/var/cache/ccache
    ccache -z >/dev/null; make -s clean; make -s -j2; make -q; ./prog
    ccache --print-stats | grep -E '^(direct_cache_hit|cache_miss)' | sort | tr '\t' ' '
    sha256sum prog
"#;

#[test]
fn a_build_in_cpp_finds_all_in_its_cache() {
    let Some((bed, _)) = debian() else {
        return;
    };
    let build = |options: &[&str], image: &str, lines: &str| {
        let said = bed.ok(&[&["run"], options, &[image, "sh", "-euc", lines]].concat());
        let lines: Vec<String> = said.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 4, "{said}");
        lines
    };
    let cold = build(&["--name", "cc"], "debian:1", &format!("{SOURCES}{BUILD}"));
    assert_eq!(cold[..3], ["45 ", "cache_miss 11", "direct_cache_hit 0"]);
    // from the cache of the same container, after a remount
    bed.ok(&["commit", "cc", "built:1"]);
    bed.ok(&["rm", "cc"]);
    for io in ["cached", "passthrough"] {
        let warm = build(&["--rm", "--io", io], "built:1", BUILD);
        assert_eq!(warm[..3], ["45 ", "cache_miss 0", "direct_cache_hit 11"]);
        assert_eq!(warm[3], cold[3], "another program came out of the cache");
    }
    // what make finds up to date in the container is so in the image
    let said = bed.ok(&["run", "--rm", "built:1", "make", "-C", "/src", "-q"]);
    assert_eq!(said, "");
    bed.nothing_is_left();
}
