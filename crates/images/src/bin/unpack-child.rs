//! The unpacking child alone, for this crate's own tests; the real one is the hidden `apron unpack`.

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(apron_images::unpack::ROLE) => apron_images::unpack::child_main(),
        _ => {
            eprintln!("usage: unpack-child unpack < request");
            std::process::exit(2);
        }
    }
}
