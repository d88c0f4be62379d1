//! `o2cb_ctl`.

fn main() -> std::process::ExitCode {
    ocfs2_o2cb::ctl::main()
}
