//! The program: parse, run, exit code. All of it is in [`vellum::cli`].

fn main() -> std::process::ExitCode {
    vellum::cli::main(std::env::args_os())
}
