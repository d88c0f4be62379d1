//! `ocfs2_hb_ctl`.

fn main() -> std::process::ExitCode {
    ocfs2_o2cb::hb_ctl::main()
}
