//! nginx: what is fetched is what the image has, by the same digests, and what was just changed.

use crate::bed::debian;
use crate::live::sh;
use std::fs;

const CONFIG: &str = "daemon off; worker_processes 2; pid /run/n.pid; error_log stderr;
events { }
http {
    access_log off; sendfile on; types { } default_type application/octet-stream;
    open_file_cache max=1000;
    server { listen 127.0.0.1:8080; root /usr; }
}
";

/// The digests of the files of list `$2` in folder `$1`.
const DIGESTS: &str = r#"cd "$1"; xargs -d '\n' sha256sum <"$2""#;

#[test]
fn a_web_server_serves_what_the_image_has() {
    let Some((bed, layers)) = debian() else {
        return;
    };
    let usr = layers[0].join("usr");
    for name in ["out", "conf"] {
        fs::create_dir(bed.at(name)).unwrap();
    }
    fs::write(bed.at("conf/nginx.conf"), CONFIG).unwrap();
    // 3000 small files, and the largest there are; a URL has other characters encoded
    let list = bed.at("conf/list");
    let picked = sh(
        r#"cd "$1"
           { find share/nodejs share/perl5 -type f -size -200k | sort | grep -x '[A-Za-z0-9._/+-]*' | head -3000
             find . -type f -size +20M -printf '%P\n' | sort; } >"$2"
           while read -r path; do
               printf 'url = "http://127.0.0.1:8080/%s"\noutput = "/out/%s"\n' "$path" "$path"
           done <"$2" >"$2.curl"
           grep -c . "$2"; tail -1 "$2""#,
        &[usr.as_os_str(), list.as_os_str()],
    );
    let (count, largest) = picked.split_once('\n').unwrap();
    assert!(count.parse::<u32>().unwrap() > 2000, "{picked}");
    let largest = largest.trim_end();

    let (out, conf) = (
        format!("{}:/out", bed.path("out")),
        format!("{}:/conf:ro", bed.path("conf")),
    );
    let options = ["run", "-d", "--name", "web", "-v", &out, "-v", &conf];
    let command = ["debian:1", "nginx", "-c", "/conf/nginx.conf"];
    bed.ok(&[&options[..], &command].concat());
    let fetch = |args: &[&str]| bed.ok(&[&["exec", "web", "curl", "-fsS"], args].concat());
    bed.soon("a web server", || {
        let url = "http://127.0.0.1:8080/share/perl5/";
        let out = bed.run(&[
            "exec",
            "web",
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            url,
        ]);
        out.stdout == b"403"
    });
    let many = [
        "--parallel",
        "--parallel-max",
        "16",
        "--create-dirs",
        "-K",
        "/conf/list.curl",
    ];
    fetch(&many);
    let served = sh(DIGESTS, &[bed.at("out").as_os_str(), list.as_os_str()]);
    let stored = sh(DIGESTS, &[usr.as_os_str(), list.as_os_str()]);
    assert_eq!(served, stored);

    // a part from the middle of a large one
    let url = format!("http://127.0.0.1:8080/{largest}");
    fetch(&["-r", "10000001-13000000", "-o", "/out/part", &url]);
    sh(
        r#"tail -c +10000002 "$1" | head -c 3000000 | cmp - "$2""#,
        &[
            usr.join(largest).as_os_str(),
            bed.at("out/part").as_os_str(),
        ],
    );
    // a file of a layer that is changed while it is served, by renaming and in its place
    let script = r#"f=/usr/share/perl5/Debconf/Db.pm; cp $f /tmp/old; echo '# more' >>$f
        curl -fsS http://127.0.0.1:8080/share/perl5/Debconf/Db.pm | cmp - $f
        { cat /tmp/old; echo '# and more'; } >$f.new; mv $f.new $f; nginx -c /conf/nginx.conf -s reload; sleep 0.5
        curl -fsS http://127.0.0.1:8080/share/perl5/Debconf/Db.pm | cmp - $f; tail -1 $f"#;
    assert_eq!(
        bed.ok(&["exec", "web", "sh", "-euc", script]),
        "# and more\n"
    );
    bed.ok(&["stop", "web"]);
    assert_eq!(bed.ok(&["wait", "web"]), "0\n");
    let diff = bed.ok(&["diff", "web"]);
    assert!(
        diff.contains("C /usr/share/perl5/Debconf/Db.pm\n"),
        "{diff}"
    );
    bed.ok(&["rm", "web"]);
    bed.nothing_is_left();
}
