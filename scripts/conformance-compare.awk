# Judges the results of the public suites.
#
#   awk -v plain=BED -v gated="BED BED" -f conformance-compare.awk KNOWN RESULTS
#
# RESULTS: lines `bed suite test ok|fail|skip`, separated by tabs.
# KNOWN:   lines `suite test reason...`; # begins a comment.
#
# A gated bed must pass each test that the plain file system passes: a failure, a skip and a missing
# result (the mount died) are all faults. One that is listed in KNOWN is told, and is none. So is
# one that is listed and passes: the list is to be shortened. Exit code 1: there is a fault.

FNR == NR {
    if ($0 !~ /^[ \t]*(#|$)/) {
        split($0, f, /[ \t]+/)
        reason = $0
        sub(/^[^ \t]+[ \t]+[^ \t]+[ \t]*/, "", reason)
        if (reason == "") { print "known failure without a reason: " $0; bad = 1 }
        known[f[1] "\t" f[2]] = reason
    }
    next
}

{
    split($0, f, "\t")
    bed = f[1]; suite = f[2]; test = f[2] "\t" f[3]; result = f[4]
    got[bed, test] = result
    count[bed, suite, result]++
    if (!(bed in seen)) { seen[bed] = 1; beds[++nbeds] = bed }
    if (!(suite in suites)) { suites[suite] = 1; order[++nsuites] = suite }
    if (bed == plain) { tests[++ntests] = test }
}

END {
    printf "%-14s", "passed/failed"
    for (b = 1; b <= nbeds; b++) printf " %20s", beds[b]
    print ""
    for (s = 1; s <= nsuites; s++) {
        printf "%-14s", order[s]
        for (b = 1; b <= nbeds; b++) {
            bed = beds[b]; suite = order[s]
            text = count[bed, suite, "ok"] + 0 "/" count[bed, suite, "fail"] + 0
            if (count[bed, suite, "skip"]) text = text " (" count[bed, suite, "skip"] " skip)"
            printf " %20s", text
        }
        print ""
    }
    print ""
    if (ntests == 0) { print "FAULT: nothing ran on " plain ", there is nothing to compare with"; bad = 1 }

    n = split(gated, gate, " ")
    for (g = 1; g <= n; g++) {
        bed = gate[g]
        if (!(bed in seen)) { print "FAULT: nothing ran on " bed; bad = 1; continue }
        for (t = 1; t <= ntests; t++) {
            test = tests[t]
            if (got[plain, test] != "ok") continue
            r = ((bed, test) in got) ? got[bed, test] : "no result"
            shown = test
            sub("\t", " ", shown)
            if (r == "ok") {
                if (test in known) passes[test]++
            } else if (test in known) {
                told[bed ": " known[test]]++
                fails[test]++
            } else {
                print "FAULT: " bed ": " shown ": " r
                bad = 1
            }
        }
    }
    for (reason in told) print "known: " reason " (" told[reason] ")"
    for (test in passes) {
        shown = test
        sub("\t", " ", shown)
        if (!(test in fails)) print "now passes, take it off the list: " shown
    }
    exit bad
}
