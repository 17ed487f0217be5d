//! The children that read archives, for this crate's own tests; the real ones are the hidden roles of `apron`.

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some(apron_images::unpack::ROLE) => apron_images::unpack::child_main(),
        Some(apron_images::archive::ROLE) => apron_images::archive::child_main(),
        _ => {
            eprintln!("usage: unpack-child unpack | read-archive");
            std::process::exit(2);
        }
    }
}
