//! An OCI archive around one static program. The example and the benchmarks use it; it is not shipped.

use apron_images::content::Content;
use apron_images::manifest::RunDefaults;
use apron_images::{archive, pack};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [program, name, output] = arguments.as_slice() else {
        eprintln!("usage: make-image PROGRAM NAME OUTPUT.tar");
        std::process::exit(2);
    };
    let scratch = Scratch(std::env::temp_dir().join(format!("apron-make-image-{}", std::process::id())));
    let content = Content::open(&scratch.0)?;
    let layer = pack::single_file(&content, Path::new(program), "/server", 0o755)?;
    let run = RunDefaults {
        entrypoint: vec!["/server".to_owned()],
        working_dir: "/".to_owned(),
        ..RunDefaults::default()
    };
    let image = pack::assemble(&content, None, &[layer], run)?;
    archive::export(&content, &image, name, Path::new(output))?;
    println!("{output}: {name} {image}");
    Ok(())
}

struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
