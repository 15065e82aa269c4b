//! The report as a browser shows it.

use super::helpers::*;
use super::live;

/// Counts errors from the first byte on.
const BEFORE: &str = "<script>window.errors = []; \
    addEventListener('error', e => errors.push(e.message || String(e.target)), true);</script>";
/// Tells the page around it what is to be looked at.
const AFTER: &str = "<script>addEventListener('load', () => {\
    const shown = [...document.querySelectorAll('figure svg')].filter(s => {\
      const r = s.getBoundingClientRect();\
      return r.width > 200 && r.height > 100 && s.querySelectorAll('polyline').length > 2; });\
    const small = [...document.querySelectorAll('figure svg text')].filter(t => \
      t.getBoundingClientRect().height < 8).length;\
    parent.postMessage([innerWidth, document.documentElement.scrollWidth, \
      shown.length, small, errors.join('; ')].join('|'), '*'); });</script></body>";

/// What the page says of itself at a width: window, page, plots, texts that are too small, errors. It is in
/// a frame, since no window is as narrow as a phone.
fn look(page: &Path, width: usize) -> Vec<String> {
    let frame = page.with_file_name("frame.html");
    let name = page.file_name().unwrap().to_str().unwrap();
    let html = format!(
        "<!DOCTYPE html><body><p></p><script>addEventListener('message', e => \
         document.querySelector('p').textContent = '[' + e.data + ']');</script>\
         <iframe src='{name}' style='width:{width}px;height:900px;border:0'></iframe></body>"
    );
    fs::write(&frame, html).unwrap();
    let out = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
        ])
        .args(["--dump-dom", "--virtual-time-budget=20000"])
        .arg(format!(
            "--user-data-dir={}",
            page.with_extension("profile").display()
        ))
        .arg(format!("file://{}", frame.display()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let inner = text
        .split_once("<p>[")
        .and_then(|(_, rest)| rest.split_once("]</p>"))
        .unwrap_or_else(|| panic!("no answer of the page: {text:.400} {out:?}"));
    inner.0.split('|').map(str::to_owned).collect()
}

#[test]
fn the_report_is_whole_on_a_phone_and_on_a_screen() {
    if !live::may_mount() {
        return;
    }
    let _one = ONE.lock().unwrap_or_else(|e| e.into_inner());
    let s = scratch();
    let peers = ["plain", "overlayfs", "vellum-image"];
    let o = options(&s, &peers, &["lookup", "mount", "large-rand"]);
    let mut o = o;
    o.extra_peers.push("a<b=ls {mnt} /does/not/exist".into());
    let measured = run(&o).unwrap();
    let document = Document::of(&measured, &o);
    let dir = s.dir("out").unwrap();
    report::write(&document, &dir).unwrap();
    let plots: Vec<_> = fs::read_dir(dir.join("plots")).unwrap().collect();
    // lookup has its latency too, and so has each random read
    assert!(plots.len() >= 12, "{plots:?}");
    for plot in &plots {
        let text = fs::read_to_string(plot.as_ref().unwrap().path()).unwrap();
        assert!(text.starts_with("<svg ") && text.contains("vellum-image"));
    }
    let html = fs::read_to_string(dir.join("report.html")).unwrap();
    assert!(html.contains("a&lt;b") && !html.contains("a<b"));
    for outside in ["src=", "http://", "https://", "@import", "url("] {
        let found = html
            .replace("http://www.w3.org/2000/svg", "")
            .contains(outside);
        assert!(!found, "the page is not self-contained: {outside}");
    }
    let browser = std::env::var_os("PATH")
        .is_some_and(|p| std::env::split_paths(&p).any(|d| d.join("chromium").is_file()));
    if !browser {
        return live::skip("chromium is not installed");
    }
    let page = dir.join("looked-at.html");
    let with = html
        .replacen("<head>", &format!("<head>{BEFORE}"), 1)
        .replacen("</body>", AFTER, 1);
    fs::write(&page, with).unwrap();
    for width in [390, 1280] {
        let said = look(&page, width);
        let number = |i: usize| said[i].parse::<usize>().unwrap();
        assert_eq!(number(0), width, "{said:?}");
        assert!(number(1) <= width, "it is wider than the window: {said:?}");
        assert_eq!(number(2), plots.len(), "{said:?}");
        assert_eq!((number(3), said[4].as_str()), (0, ""), "{said:?}");
    }
    // the looks are looks: a page that is too wide, and one with an error, are found out
    let broken = fs::read_to_string(&page).unwrap().replacen(
        "<h1>",
        "<script>nonsense()</script><div style='width:2000px'>x</div><h1>",
        1,
    );
    fs::write(&page, broken).unwrap();
    let said = look(&page, 390);
    assert!(
        said[1] == "2000" || said[1].parse::<usize>().unwrap() > 390,
        "{said:?}"
    );
    assert!(said[4].contains("nonsense"), "{said:?}");
}
