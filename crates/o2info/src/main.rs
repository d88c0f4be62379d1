//! `o2info`.

fn main() -> std::process::ExitCode {
    ocfs2_o2info::main()
}
