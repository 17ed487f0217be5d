//! Archives of strangers, with changes by dice. Part of the long list; needs root.

mod common;
#[path = "../../model/tests/support/mutate.rs"]
mod mutate;

use apron_images::archive::{self, ArchiveError};
use apron_images::content::Content;
use apron_images::manifest::{Descriptor, LAYER_TYPE, RunDefaults};
use apron_images::pack::{Layer, assemble};
use apron_images::process::Cancel;
use apron_images::unpack::{UnpackError, unpack_layers};
use apron_model::ids::Digest;
use common::{Scratch, Tar, bounds, helper};
use std::fs;
use tar::EntryType;

const BLOCK: usize = 512;
/// Octal digits of a header's checksum.
const CHECKSUM: std::ops::Range<usize> = 148..156;
const WORDS: [&str; 12] = [
    "../",
    "/",
    "./",
    "\0",
    "0000777\0",
    "7777777\0",
    "ustar",
    ".wh.",
    ".wh..wh..opq",
    "PaxHeaders",
    "30 path=../x\n",
    "GNU.sparse",
];

/// Checksums made right again: without it nearly every change would end at the first header.
fn repair(archive: &[u8]) -> Vec<u8> {
    let mut archive = archive.to_vec();
    for header in archive.chunks_exact_mut(BLOCK).filter(|block| &block[257..262] == b"ustar") {
        header[CHECKSUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[CHECKSUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    archive
}

fn layer() -> Vec<u8> {
    Tar::new()
        .member(EntryType::Directory, "etc/", (0, 0), 0o755, b"")
        .member(EntryType::Regular, "etc/tool", (1000, 1000), 0o4755, b"#!/bin/sh\n")
        .file(&format!("{}/file", "d".repeat(150)), &vec![7; 2_000])
        .link(EntryType::Symlink, "etc/up", "../..")
        .link(EntryType::Link, "etc/again", "etc/tool")
        .member(EntryType::Fifo, "pipe", (7, 7), 0o600, b"")
        .file("etc/.wh.gone", b"")
        .file("gone/.wh..wh..opq", b"")
        .file("etc/up/file", b"x")
        .bytes()
}

/// An image of one layer.
fn image_of(content: &Content, tar: &[u8]) -> Digest {
    let blob = content.put(tar).unwrap();
    let descriptor = Descriptor::new(LAYER_TYPE, blob.clone(), tar.len() as u64);
    assemble(content, None, &[Layer { descriptor, diff_id: blob }], RunDefaults::default()).unwrap()
}

#[test]
#[ignore = "long: the long list runs it"]
fn layers() {
    let corpus = layer();
    mutate::fuzz(&[&corpus], &WORDS, |changed| {
        let tar = repair(changed);
        let scratch = Scratch::new();
        let content = Content::open(scratch.join("content")).unwrap();
        let image = image_of(&content, &tar);
        let canary = scratch.join("canary");
        fs::write(&canary, "alive").unwrap();
        match unpack_layers(&content, &image, &scratch.join("layers"), &helper(), &bounds()) {
            Ok(paths) => assert_eq!(fs::read_dir(scratch.join("layers")).unwrap().count(), paths.len()),
            Err(UnpackError::Refused(_) | UnpackError::Damaged(_)) => {
                assert_eq!(fs::read_dir(scratch.join("layers")).unwrap().count(), 0)
            }
            // A child that panicked, ran out of memory or of time ends early.
            Err(UnpackError::Failed { reason, .. }) => assert!(!reason.contains("early"), "{reason}"),
            Err(UnpackError::WrongDiffId { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        assert_eq!(fs::read_to_string(&canary).unwrap(), "alive");
        let mut beside: Vec<_> =
            fs::read_dir(&scratch.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        beside.sort();
        assert_eq!(beside, ["canary", "content", "layers"]);
    });
}

#[test]
#[ignore = "long: the long list runs it"]
fn image_archives() {
    let scratch = Scratch::new();
    let content = Content::open(scratch.join("source")).unwrap();
    let image = image_of(&content, &layer());
    let path = scratch.join("image.tar");
    archive::export(&content, &image, "web:latest", &path).unwrap();
    let corpus = fs::read(&path).unwrap();
    let words = [
        &WORDS[..],
        &["{", "}", "[", "]", "\"", "\"layers\":[", "\"digest\":", "sha256:", "\"size\":-1", "index.json"],
    ]
    .concat();
    mutate::fuzz(&[&corpus], &words, |changed| {
        let scratch = Scratch::new();
        let content = Content::open(scratch.join("content")).unwrap();
        let path = scratch.join("changed.tar");
        fs::write(&path, repair(changed)).unwrap();
        // Reading must end; what it takes for an image must be one.
        match archive::import(&content, &path, &helper(), &Cancel::new()) {
            Ok(images) => {
                for (_, digest) in images {
                    content.manifest(&digest).unwrap();
                    content.config(&digest).unwrap();
                }
            }
            // A reader that panicked.
            Err(ArchiveError::Failed { reason, .. }) => panic!("{reason}"),
            Err(_) => {}
        }
    });
}
