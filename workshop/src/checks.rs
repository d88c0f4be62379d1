//! `fsck.ocfs2.checks(8)`: what `fsck.ocfs2` finds, from the table that its code uses.

use std::collections::BTreeMap;
use std::fmt::Write;

use ocfs2_fsck::Pass;
use ocfs2_fsck::codes::kernels::{CHECKS, KernelCheck, Series, Verdict};
use ocfs2_fsck::codes::{self, Code};

/// Name of the page.
pub const NAME: &str = "fsck.ocfs2.checks";

const DESCRIPTION: &str = "\
.BR fsck.ocfs2 (8)
names what is wrong with a volume by the codes of this page. Behind a code come what is wrong,
the question whether to repair it, the answer it is given where nobody is asked, and what a yes
means. Codes of the C tool of the same name have kept their names; the others are about what
that one does not look at.
.PP
With
.B \\-n
every answer is no, with
.B \\-y
every answer is yes, with
.B \\-p
only what can lose nothing is repaired.";

const KERNELS: &str = "\
What Linux refuses of a volume it mounts, reads or writes is found beforehand. A row tells what
has to be so, since which release of Debian's kernels 6.1, 6.12 and 7 refuse the volume otherwise
(it is not mounted, or becomes read\\-only), and by which code it is found here; a kernel that
.I stops
has a bug there: the task is killed and the volume hangs.";

/// Returns the page.
pub fn man_page() -> String {
    let mut passes: BTreeMap<Pass, Vec<&Code>> = BTreeMap::new();
    for code in codes::all() {
        passes.entry(code.pass).or_default().push(code);
    }
    let mut page = String::new();
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(page, ".TH {NAME} 8 \"\" \"fsck.ocfs2 {version}\" OCFS2");
    let _ = writeln!(page, ".SH NAME\n{NAME} \\- what fsck.ocfs2 finds, and how it is repaired");
    let _ = writeln!(page, ".SH DESCRIPTION\n{DESCRIPTION}");
    for (pass, codes) in passes {
        let title = pass.title().unwrap_or("Before the passes");
        let _ = writeln!(page, ".SH \"{}\"", escaped(&title.to_uppercase()));
        for code in codes {
            let _ = writeln!(page, ".TP\n.B {code}\n{}", escaped(&sentence(code.condition)));
            // There is no question without a repair.
            if let Some(advice) = code.repair.strip_prefix("nothing; ") {
                let _ = writeln!(page, ".br\n{}", escaped(&sentence(advice)));
                continue;
            }
            let question = code.question();
            let _ = writeln!(page, ".br\n.I {}", escaped(&question));
            let _ = writeln!(page, "(default: {})", code.default.name());
        }
    }
    let _ = writeln!(page, ".SH \"WHAT LINUX REFUSES\"\n{KERNELS}");
    for check in CHECKS {
        let _ = writeln!(page, "{}", refusal(check));
    }
    let _ = writeln!(page, ".SH \"SEE ALSO\"\n.BR fsck.ocfs2 (8),\n.BR fsck (8)");
    page
}

/// Returns an entry about what kernels refuse.
fn refusal(check: &KernelCheck) -> String {
    let series = [("6.1", Series::Linux6_1), ("6.12", Series::Linux6_12), ("7", Series::Linux7)];
    let verdicts = series.map(|(name, series)| match check.verdict(series) {
        Verdict::Takes => format!("{name} takes it"),
        Verdict::Refuses(release) => format!("{release} refuses it"),
        Verdict::Stops => format!("{name} stops"),
    });
    let rule = escaped(&sentence(&format!("{}: {}", check.structure, check.rule)));
    format!(".TP\n.B {}\n{rule}\n.br\n{}", check.code, escaped(&sentence(&verdicts.join(", "))))
}

/// Returns a clause as a sentence.
fn sentence(clause: &str) -> String {
    let mut letters = clause.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

/// Escapes text so that roff prints it as it is.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_one_entry() {
        let page = man_page();
        let (page, refusals) = page.split_once(".SH \"WHAT LINUX REFUSES\"").unwrap();
        for code in codes::all() {
            assert_eq!(page.matches(&format!("\n.B {code}\n")).count(), 1, "{code}");
        }
        assert_eq!(page.matches("\n.TP\n").count(), codes::all().count());
        assert_eq!(refusals.matches("\n.TP\n").count(), CHECKS.len());
    }

    #[test]
    fn an_entry_tells_condition_question_and_default() {
        let expected = "\n.TP\n.B EB_BLKNO\n\
                        An extent block says that it is in another block than it is.\n.br\n\
                        .I Write its block number into the extent block?\n(default: yes)\n";
        assert!(man_page().contains(expected));
        assert!(man_page().contains("\n.br\nMake the device as long as it was"));
        assert!(!man_page().contains("Nothing;"));
        assert_eq!(escaped(".x \\ a-b"), "\\&.x \\e a\\-b");
    }
}
