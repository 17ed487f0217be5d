use super::*;
use crate::bench::{Bench, Control, REGION};
use apron_compute::sim::World;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

async fn create(control: &Control, name: &str, image: &str) {
    let input = json!({
        "ServiceName": name,
        "SourceConfiguration": {
            "AutoDeploymentsEnabled": false,
            "ImageRepository": { "ImageIdentifier": image, "ImageRepositoryType": "ECR_PUBLIC" },
        },
    });
    crate::api::direct(&control.platform, REGION, "CreateService", &input).await.unwrap();
    control.engine.pass().await.unwrap();
}

async fn address(listener: &TcpListener) -> String {
    format!("{}/team/web", listener.local_addr().unwrap())
}

/// Answers every question with this manifest.
async fn give(listener: TcpListener, manifest: String) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        while !asked.ends_with(b"\r\n\r\n") {
            asked.push(stream.read_u8().await.unwrap());
        }
        let length = manifest.len();
        let answer =
            format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{manifest}");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
}

/// What an image means is looked up in a list that may be long, and not in every pass.
#[tokio::test]
async fn what_a_build_needs_a_place_for_is_found_once() {
    let bench = Bench::new(World::new(), 1);
    bench.import("web", "imported").await.unwrap();
    let mut control = bench.start().await.unwrap();
    control.builds.begun_max = 0;
    for name in ["one", "two"] {
        create(&control, name, "web").await;
    }
    control.builds.pass().await.unwrap();
    let queues = |control: &Control| control.builds.queues.values().cloned().collect::<Vec<_>>();
    assert_eq!(queues(&control), [Queue::Import, Queue::Import]);
    std::fs::remove_file(bench.directory().join("content/images.json")).unwrap();
    control.builds.pass().await.unwrap();
    assert_eq!(queues(&control), [Queue::Import, Queue::Import], "nobody looked again");
    create(&control, "three", "web").await;
    control.builds.pass().await.unwrap();
    assert!(queues(&control).contains(&Queue::Pull("docker.io".to_owned())), "of another it is not known");
}

/// However many others say nothing.
#[tokio::test]
async fn a_registry_that_gave_an_image_finds_a_place_when_others_are_silent() {
    let bench = Bench::new(World::new(), 1);
    let image = bench.import("served", "served").await.unwrap();
    let mut control = bench.start().await.unwrap();
    control.builds.begun_max = usize::MAX;
    let path = control.platform.content.blob_path(&image).unwrap();
    let manifest = std::fs::read_to_string(path).unwrap();
    let giving = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gives = address(&giving).await;
    let registry = tokio::spawn(give(giving, manifest));
    create(&control, "first", &gives).await;
    control.builds.pass().await.unwrap();
    control.builds.settle(|| 0, &Notify::new()).await;
    let mut silent = Vec::new();
    for number in 0..5 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for one in 0..PULLS_OF_ONE_MAX {
            create(&control, &format!("silent-{number}-{one}"), &address(&listener).await).await;
        }
        silent.push(listener);
    }
    create(&control, "second", &gives).await;
    control.builds.pass().await.unwrap();
    let runs = |queue: &Queue| control.builds.running.values().filter(|one| one.queue == *queue).count();
    let host = |text: &str| Queue::Pull(text.trim_end_matches("/team/web").to_owned());
    assert_eq!(runs(&host(&gives)), 1);
    assert_eq!(control.builds.running.len(), PULLS_UNPROVEN_MAX + 1);
    registry.abort();
}
