//! Instructions and what they make of a configuration, as docker does.

use super::*;
use crate::vfs::Result;
use serde_json::{Value, json};

/// Applies all to a configuration.
fn edited(config: Value, keeps: Keeps, lines: &[&str]) -> Result<Value> {
    let mut document = json!({ "config": config });
    let mut edit = Edit::new(&mut document, keeps)?;
    for line in lines {
        edit.apply(&parse(line)?)?;
    }
    Ok(document["config"].take())
}

fn docker(config: Value, lines: &[&str]) -> Value {
    edited(config, Keeps::Docker, lines).unwrap()
}

#[track_caller]
fn refused(line: &str, why: &str) {
    let e = edited(json!({}), Keeps::Docker, &[line]).unwrap_err();
    assert!(e.reason().contains(why), "{line}: {e}");
    assert!(e.is(Errno::EINVAL));
}

#[test]
fn commands_have_two_forms() {
    for (line, want) in [
        (r#"CMD ["a", "b $x"]"#, json!(["a", "b $x"])),
        (
            "cmd echo \"$x\" 'y'",
            json!(["/bin/sh", "-c", "echo \"$x\" 'y'"]),
        ),
        ("CMD []", json!([])),
        // no JSON is a line, as docker has it
        ("CMD ['a']", json!(["/bin/sh", "-c", "['a']"])),
        ("CMD [ -f x ]", json!(["/bin/sh", "-c", "[ -f x ]"])),
    ] {
        assert_eq!(docker(json!({}), &[line])["Cmd"], want, "{line}");
    }
    let shell = json!({"Shell": ["/bin/bash", "-ec"]});
    assert_eq!(
        docker(shell, &["ENTRYPOINT x y"])["Entrypoint"],
        json!(["/bin/bash", "-ec", "x y"])
    );
    refused("CMD [1]", "1 in the list is no text");
}

#[test]
fn an_entry_point_takes_the_images_command_away_but_not_ones_own() {
    let image = json!({"Cmd": ["old"]});
    let got = docker(image.clone(), &["ENTRYPOINT [\"e\"]"]);
    assert_eq!(got, json!({"Entrypoint": ["e"]}));
    let got = docker(image, &["CMD [\"new\"]", "ENTRYPOINT [\"e\"]"]);
    assert_eq!(got, json!({"Entrypoint": ["e"], "Cmd": ["new"]}));
}

#[test]
fn variables_are_set_and_seen() {
    let image = json!({"Env": ["PATH=/bin", "a=1"]});
    for (lines, want) in [
        (&["ENV a=2"][..], json!(["PATH=/bin", "a=2"])),
        (
            &["ENV PATH=$PATH:/opt b=\"x y\" c='$a'"],
            json!(["PATH=/bin:/opt", "a=1", "b=x y", "c=$a"]),
        ),
        (
            &["ENV b the  rest \"of it\""],
            json!(["PATH=/bin", "a=1", "b=the  rest of it"]),
        ),
        (
            &[r"ENV b=x\ y\$a c=\\"],
            json!(["PATH=/bin", "a=1", r"b=x y$a", r"c=\"]),
        ),
        // all of a line see what was before it
        (
            &["ENV a=2 b=$a", "ENV c=$a"],
            json!(["PATH=/bin", "a=2", "b=1", "c=2"]),
        ),
        (&["ENV b="], json!(["PATH=/bin", "a=1", "b="])),
        (&["ENV $a=b"], json!(["PATH=/bin", "a=1", "1=b"])),
    ] {
        assert_eq!(docker(image.clone(), lines)["Env"], want, "{lines:?}");
    }
    refused("ENV", "something has to follow");
    refused("ENV a", "a value has to follow");
    refused("ENV a=1 b", "\"b\": NAME=VALUE");
    refused("ENV =1", "an empty name");
    refused("ENV a=\"1", "a double quote is not closed");
    refused("ENV a='1", "a single quote is not closed");
}

#[test]
fn variables_have_modifiers() {
    let image = json!({"Env": ["a=1", "e="]});
    for (text, want) in [
        ("$a", "1"),
        ("${a}b", "1b"),
        ("$ab", ""),
        ("$", "$"),
        ("$-", "$-"),
        ("$1", "$1"),
        ("${a:-x}", "1"),
        ("${e:-x}", "x"),
        ("${e-x}", ""),
        ("${n-x}", "x"),
        ("${n:-${a}2}", "12"),
        ("${n:-\"}\"}", "}"),
        ("${a:+x}", "x"),
        ("${e:+x}", ""),
        ("${e+x}", "x"),
        ("${a:?x}", "1"),
        ("'${a}'", "${a}"),
        (r"\$a", "$a"),
        (r#""\$a \n""#, r"$a \n"),
    ] {
        let got = docker(image.clone(), &[&format!("USER {text}")]);
        assert_eq!(got["User"], want, "{text}");
    }
    refused("USER ${n:?who is it}", "n: who is it");
    refused("USER ${n", "is not closed");
    refused("USER ${n:-x", "'}' is missing");
    refused("USER ${n%x}", "modifier '%'");
    refused("USER ${}", "without a name");
}

#[test]
fn ports_labels_and_volumes_are_added() {
    let image = json!({"ExposedPorts": {"22/tcp": {}}, "Labels": {"l": "0", "k": "v"},
        "Volumes": null, "Env": ["P=1 2/UDP"]});
    let got = docker(
        image,
        &[
            "EXPOSE 80 53/udp 8000-8002/sctp $P",
            r#"LABEL l=1 "a b"='c d' e="#,
            r#"VOLUME ["/a b", "/c"]"#,
            "VOLUME /d /e",
        ],
    );
    let keys = |field: &str| -> Vec<&String> { got[field].as_object().unwrap().keys().collect() };
    assert_eq!(
        keys("ExposedPorts"),
        [
            "1/tcp",
            "2/udp",
            "22/tcp",
            "53/udp",
            "80/tcp",
            "8000/sctp",
            "8001/sctp",
            "8002/sctp"
        ]
    );
    assert_eq!(
        got["Labels"],
        json!({"l": "1", "k": "v", "a b": "c d", "e": ""})
    );
    assert_eq!(keys("Volumes"), ["/a b", "/c", "/d", "/e"]);
    for bad in ["0", "65536", "a", "80/xyz", "9-8", "80:80", "/tcp"] {
        refused(&format!("EXPOSE 1 {bad}"), "is expected");
    }
    refused("VOLUME [\"\"]", "an empty name");
}

#[test]
fn where_who_and_how_it_ends() {
    for (before, line, want) in [
        ("", "WORKDIR a/b/", "/a/b"),
        ("/x", "WORKDIR ../y", "/y"),
        ("/x", "WORKDIR /y z", "/y z"),
        ("/x", "WORKDIR ./y//z", "/x/y/z"),
    ] {
        let got = docker(json!({"WorkingDir": before}), &[line]);
        assert_eq!(got["WorkingDir"], want, "{line}");
    }
    for good in ["9", "SIGKILL", "term", "SIGRTMIN+3", "RTMAX-15", "RTMIN"] {
        let got = docker(json!({}), &[&format!("STOPSIGNAL {good}")]);
        assert_eq!(got["StopSignal"], good);
    }
    for bad in ["0", "65", "SIGNOTHING", "RTMIN+16", "RTMIN-1"] {
        refused(&format!("STOPSIGNAL {bad}"), "is no signal");
    }
}

#[test]
fn a_health_check_is_kept_where_there_is_room_for_it() {
    for (line, want) in [
        ("HEALTHCHECK NONE", json!({"Test": ["NONE"]})),
        (
            "HEALTHCHECK CMD curl -f x || exit 1",
            json!({"Test": ["CMD-SHELL", "curl -f x || exit 1"]}),
        ),
        (
            "HEALTHCHECK --interval=1m30s --timeout=1.5s --start-period=0 --retries=3 CMD [\"a\", \"b\"]",
            json!({"Test": ["CMD", "a", "b"], "Interval": 90_000_000_000_i64,
                "Timeout": 1_500_000_000, "Retries": 3}),
        ),
    ] {
        assert_eq!(docker(json!({}), &[line])["Healthcheck"], want, "{line}");
        let oci = edited(json!({}), Keeps::Oci, &[line, "ONBUILD RUN x"]).unwrap();
        assert_eq!(oci, json!({}));
    }
    let got = docker(json!({"OnBuild": ["RUN a"]}), &["ONBUILD RUN b"]);
    assert_eq!(got["OnBuild"], json!(["RUN a", "RUN b"]));
    refused("HEALTHCHECK CMD", "a command has to follow");
    refused("HEALTHCHECK RUN x", "NONE or CMD");
    refused("HEALTHCHECK --retries=x CMD y", "a number");
    refused("HEALTHCHECK --often=1s CMD y", "no such option");
    refused("HEALTHCHECK NONE x", "stands alone");
    for bad in [
        "", "1", "s", "1x", "1s2", "-1s", "1.2.3s", "1us", "9999999h",
    ] {
        refused(&format!("HEALTHCHECK --interval={bad} CMD y"), "expected");
    }
    refused("ONBUILD ONBUILD RUN x", "within");
    refused("ONBUILD from x", "FROM within");
}

#[test]
fn what_is_for_builds_is_refused_by_name() {
    refused("RUN x", "RUN is for builds alone");
    refused("COPY a b", "COPY is for builds alone");
    refused("NOTHING x", "no instruction \"NOTHING\"");
    refused("", "no instruction \"\"");
}

#[test]
fn a_text_may_have_several() {
    let all = parse_all("# first\nENV a=1 \\\n  # between\n  b=2\n\n USER u\n").unwrap();
    assert_eq!(
        all,
        [parse("ENV a=1 b=2").unwrap(), parse("USER u").unwrap()]
    );
    assert!(parse_all("# nothing").is_err());
}
