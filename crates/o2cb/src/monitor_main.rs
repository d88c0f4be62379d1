//! `o2hbmonitor`.

fn main() -> std::process::ExitCode {
    ocfs2_o2cb::monitor::main()
}
