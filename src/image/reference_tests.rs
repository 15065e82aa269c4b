use super::*;

const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn read(text: &str) -> Reference {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// What is written, its familiar form, its whole form with the default tag. The names are those of
/// distribution's own tests.
#[test]
fn names_are_normalised_as_docker_does() {
    let digest = format!("@sha256:{HEX}");
    for (text, familiar, whole) in [
        ("redis", "redis", "docker.io/library/redis:latest"),
        ("redis:7", "redis:7", "docker.io/library/redis:7"),
        ("library/redis", "redis", "docker.io/library/redis:latest"),
        ("docker.io/redis", "redis", "docker.io/library/redis:latest"),
        (
            "docker.io/library/redis",
            "redis",
            "docker.io/library/redis:latest",
        ),
        (
            "index.docker.io/redis",
            "redis",
            "docker.io/library/redis:latest",
        ),
        (
            "index.docker.io/library/redis",
            "redis",
            "docker.io/library/redis:latest",
        ),
        (
            "library/foo/bar",
            "library/foo/bar",
            "docker.io/library/foo/bar:latest",
        ),
        ("foo/bar", "foo/bar", "docker.io/foo/bar:latest"),
        ("foo/bar/baz", "foo/bar/baz", "docker.io/foo/bar/baz:latest"),
        ("localhost/x", "localhost/x", "localhost/x:latest"),
        (
            "localhost:5000/x",
            "localhost:5000/x",
            "localhost:5000/x:latest",
        ),
        (
            "127.0.0.1:8000/x/y",
            "127.0.0.1:8000/x/y",
            "127.0.0.1:8000/x/y:latest",
        ),
        ("example.com/x:t", "example.com/x:t", "example.com/x:t"),
        ("Uppercase/x", "Uppercase/x", "Uppercase/x:latest"),
        (
            "[2001:db8::1]/x",
            "[2001:db8::1]/x",
            "[2001:db8::1]/x:latest",
        ),
        (
            "[2001:db8::1]:5000/x:t",
            "[2001:db8::1]:5000/x:t",
            "[2001:db8::1]:5000/x:t",
        ),
        (
            "a__b/c--d.e_f",
            "a__b/c--d.e_f",
            "docker.io/a__b/c--d.e_f:latest",
        ),
        (
            "a---------b",
            "a---------b",
            "docker.io/library/a---------b:latest",
        ),
        // a port alone makes no host: without a slash it is a tag
        ("host:5000", "host:5000", "docker.io/library/host:5000"),
        ("0/x", "0/x", "docker.io/0/x:latest"),
        (
            "docker.io/a.b/c",
            "docker.io/a.b/c",
            "docker.io/a.b/c:latest",
        ),
        ("xn--7o8h.com/x", "xn--7o8h.com/x", "xn--7o8h.com/x:latest"),
        ("x:T_1.2-3", "x:T_1.2-3", "docker.io/library/x:T_1.2-3"),
    ] {
        assert_eq!(read(text).familiar(), familiar, "{text}");
        assert_eq!(read(text).tagged().to_string(), whole, "{text}");
    }
    let both = read(&format!("x:t{digest}"));
    assert_eq!(both.tag(), Some("t"));
    assert_eq!(both.digest(), Some(Digest::of(b"")));
    let by_digest = read(&format!("x{digest}"));
    assert_eq!(by_digest.clone().tagged(), by_digest);
    assert_eq!(
        by_digest.to_string(),
        format!("docker.io/library/x{digest}")
    );
}

#[test]
fn what_is_no_name_is_refused_with_a_reason() {
    for (text, reason) in [
        ("", "empty"),
        (HEX, "image ID"),
        ("Redis", "lower case"),
        ("foo/Bar", "lower case"),
        ("docker.io/Foo", "lower case"),
        ("-foo", "no part"),
        ("foo-/bar", "no part"),
        ("foo___bar", "no part"),
        ("foo..bar", "no part"),
        ("foo._bar", "no part"),
        ("foo//bar", "no part"),
        ("/foo", "no part"),
        ("foo/", "no part"),
        ("foo/.bar", "no part"),
        ("foo bar", "no part"),
        ("ä", "no part"),
        ("-foo.com/x", "no host"),
        ("foo-.com/x", "no host"),
        (".com/x", "no host"),
        ("foo.com:/x", "no host"),
        ("foo.com:p/x", "no host"),
        ("[::1/x", "no host"),
        ("[fe80::1%eth0]/x", "no host"),
        ("x:", "no tag"),
        ("x:.t", "no tag"),
        ("x:-t", "no tag"),
        ("x:t:u", "no tag"),
        ("x:t/u", "no host"),
        ("x@sha256:12", "no SHA-256"),
        ("x@sha512:12", "only sha256"),
        ("x@", "only sha256"),
    ] {
        let e = text.parse::<Reference>().unwrap_err();
        assert!(e.reason().contains(reason), "{text}: {e}");
        assert!(e.reason().contains("image name"), "{text}: {e}");
    }
}

#[test]
fn lengths_have_limits() {
    let tag = "t".repeat(TAG_MAX);
    read(&format!("x:{tag}"));
    assert!(format!("x:{tag}t").parse::<Reference>().is_err());
    let path = format!("a/{}", "a".repeat(PATH_MAX - 2));
    read(&format!("example.com/{path}"));
    assert!(format!("example.com/{path}a").parse::<Reference>().is_err());
}

#[test]
fn repositories_are_told_apart() {
    assert!(read("x:1").same_repository(&read("docker.io/library/x:2")));
    assert!(!read("x:1").same_repository(&read("example.com/library/x:1")));
    let at = read("x:1").at(Digest::of(b""));
    assert_eq!((at.tag(), at.digest()), (None, Some(Digest::of(b""))));
}

#[test]
fn ids_are_known_by_their_beginning() {
    let id = Digest::of(b"");
    for text in [
        "e",
        "e3b0c44298fc",
        HEX,
        &format!("sha256:{HEX}"),
        "sha256:e3b0",
    ] {
        assert!(IdPrefix::parse(text).unwrap().fits(id), "{text}");
    }
    assert!(!IdPrefix::parse("e4").unwrap().fits(id));
    assert!(IdPrefix::parse(HEX).unwrap().is_whole());
    for text in ["", "sha256:", "xyz", "E3", &format!("{HEX}0")] {
        assert_eq!(IdPrefix::parse(text), None, "{text}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(4096))]

    /// Every name that is accepted is read back, whole and in its short form.
    #[test]
    fn what_is_accepted_is_read_back(
        text in "((docker\\.io|index\\.docker\\.io|localhost|[A-Za-z.-]{1,6}|\\[::1\\])(:[0-9]{1,2})?/)?\
                 (library/|localhost/|a\\.b/)?[a-z0-9]{1,3}([._/-]{1,2}[a-z0-9]{1,2}){0,3}(:[A-Za-z0-9_.-]{1,4})?",
    ) {
        if let Ok(name) = text.parse::<Reference>() {
            let name = name.tagged();
            proptest::prop_assert_eq!(&name.to_string().parse::<Reference>().unwrap(), &name);
            proptest::prop_assert_eq!(&name.familiar().parse::<Reference>().unwrap(), &name);
        }
    }
}
