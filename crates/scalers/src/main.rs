//! `cargo run -p apron-scalers`: the table of all traces and scalers, without the rest of `cargo xtask bench scaling`.

fn main() {
    print!("{}", apron_scalers::table(&apron_scalers::compare()));
}
