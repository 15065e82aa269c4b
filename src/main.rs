//! The command line; its commands come with the adapter.

fn main() -> std::process::ExitCode {
    eprintln!("vellum: no commands yet");
    std::process::ExitCode::FAILURE
}
