//! What goes wrong below control: sources that change or do not build, instances that do not start or end, a node that does not
//! answer, forgets, or does what it was told and does not say so.

use crate::clients::{NAMES, SOURCES};
use crate::dice::Dice;
use apron_compute::sim::{Behaviour, BuildScript, World};
use apron_control::bench::Bench;
use apron_model::build::BuildOutcome;
use apron_model::fixture;
use apron_model::ids::{Digest, InstanceId};
use apron_model::instance::{Fault, InstanceSpec};
use apron_store::StoreError;
use std::collections::BTreeSet;

/// What builds make.
const BUILT: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// What is imported.
const IMPORTED: [&str; 3] = ["one", "two", "three"];

fn image(index: usize) -> Digest {
    Digest::new(format!("sha256:{:0>64}", BUILT[index % BUILT.len()]))
}

/// What instances are made of, and how those behave.
pub(crate) struct Images {
    /// Each with the name that the history calls it by.
    all: Vec<(&'static str, Digest)>,
    ill: BTreeSet<Digest>,
}

impl Images {
    pub(crate) fn new() -> Images {
        let all = BUILT.iter().enumerate().map(|(index, name)| (*name, image(index))).collect();
        Images { all, ill: BTreeSet::new() }
    }

    /// Imports what is to be imported, so that every name stands for something.
    pub(crate) async fn import(&mut self, bench: &Bench) -> Result<(), StoreError> {
        for (index, text) in IMPORTED.into_iter().enumerate() {
            self.all.push((text, bench.import(NAMES[index % NAMES.len()], text).await?));
        }
        Ok(())
    }

    /// Instances of it do not do as they should.
    pub(crate) fn are_ill(&self, image: &Digest) -> bool {
        self.ill.contains(image)
    }

    fn behave(&mut self, world: &World, image: &Digest, behaviour: &Behaviour) {
        world.behave(image, behaviour.clone());
        if *behaviour == Behaviour::Healthy {
            self.ill.remove(image);
        } else {
            self.ill.insert(image.clone());
        }
    }
}

fn outcome(index: usize) -> BuildOutcome {
    BuildOutcome {
        image: image(index),
        commit: Some("c0ffee".to_owned()),
        start_command: Some("python app.py".to_owned()),
        port: Some(8000),
        ..fixture::outcome()
    }
}

/// A world in which nothing is wrong.
pub(crate) fn world() -> World {
    let world = World::new();
    for (index, source) in SOURCES.iter().enumerate() {
        world.script(source, BuildScript::Makes(outcome(index)));
    }
    world
}

fn behaviour(dice: &mut Dice) -> Behaviour {
    dice.of(&[
        Behaviour::Healthy,
        Behaviour::Healthy,
        Behaviour::Slow { looks: 20 },
        Behaviour::Exits { code: 1, last_lines: vec!["boom".to_owned()] },
        Behaviour::Silent { hint: None },
        Behaviour::Silent { hint: Some("listening on 5000, expected 8000".to_owned()) },
        Behaviour::Unhealthy { reason: "404".to_owned() },
        Behaviour::Fails { fault: Fault::permanent("start command 'x' not found") },
        Behaviour::Fails { fault: Fault::transient("no memory is left") },
        Behaviour::Refused { reason: "no memory is left".to_owned() },
    ])
}

/// What a fault means to those who check.
pub(crate) enum Effect {
    /// These stop serving without anybody's doing. What an image that misbehaves does to its instances is not among it.
    Struck(Vec<InstanceId>, String),
    /// A container that no row knows.
    Stranger(InstanceId, String),
    /// The source of services is not what it was.
    Changed(String),
    Other(String),
}

/// One fault, or the end of one.
pub(crate) async fn strike(
    bench: &Bench,
    images: &mut Images,
    dice: &mut Dice,
) -> Result<Effect, StoreError> {
    let world = &bench.world;
    Ok(match dice.below(14) {
        0..=2 => {
            let ((name, image), behaviour) = (dice.of(&images.all), behaviour(dice));
            images.behave(world, &image, &behaviour);
            Effect::Other(format!("image {name} is {behaviour:?}"))
        }
        3 | 4 => {
            let (index, to) = (dice.index(SOURCES.len()), dice.index(BUILT.len()));
            let script = match dice.below(4) {
                0 => BuildScript::Hangs,
                1 => BuildScript::Interrupted { times: 2, then: outcome(to) },
                2 => {
                    BuildScript::Fails(dice.of(&[Fault::transient("no network"), Fault::permanent("line 3")]))
                }
                _ => BuildScript::Makes(outcome(to)),
            };
            let said = format!("source {} {script:?}", SOURCES[index]);
            world.script(SOURCES[index], script);
            Effect::Changed(said)
        }
        5 => {
            world.set_unreachable(true);
            Effect::Other("the node is away".to_owned())
        }
        6 => {
            world.set_unreachable(false);
            Effect::Other("the node is there".to_owned())
        }
        7 => {
            let (calls, answers) = (dice.below(3) as u32, dice.below(3) as u32);
            world.lose(calls, answers);
            Effect::Other(format!("{calls} calls and {answers} answers are lost"))
        }
        8 => {
            let refuses = dice.once_in(2);
            world.refuse_removals(refuses.then_some("no space is left"));
            Effect::Other(format!("removals are refused: {refuses}"))
        }
        9 => {
            let room = if dice.once_in(2) { None } else { Some(dice.index(6)) };
            world.set_room(room);
            Effect::Other(format!("there is memory for {room:?} instances"))
        }
        10 | 11 => {
            let specs = world.specs();
            if specs.is_empty() {
                return Ok(Effect::Other("nothing to crash".to_owned()));
            }
            let id = dice.of(&specs).id;
            world.crash(&id, 137);
            let said = format!("{id} ends");
            Effect::Struck(vec![id], said)
        }
        12 => {
            let (name, text) = (dice.of(&NAMES), dice.of(&IMPORTED));
            bench.import(name, text).await?;
            Effect::Changed(format!("{name} is {text}"))
        }
        _ => match world.specs().first() {
            Some(spec) if dice.once_in(2) => {
                let id = InstanceId::new(format!("{:032x}", dice.bits()));
                world.put_stranger(InstanceSpec { id: id.clone(), ..spec.clone() });
                Effect::Stranger(id.clone(), format!("a stranger {id} is there"))
            }
            _ => {
                let all = world.specs().into_iter().map(|spec| spec.id).collect();
                world.wipe();
                Effect::Struck(all, "the node has lost everything".to_owned())
            }
        },
    })
}

/// A fault that keeps operations waiting, and that no other takes the place of.
pub(crate) fn last(world: &World, images: &mut Images, dice: &mut Dice) -> &'static str {
    match dice.below(5) {
        0 => {
            for source in SOURCES {
                world.script(source, BuildScript::Hangs);
            }
            "builds are silent"
        }
        1 => {
            for (_, image) in images.all.clone() {
                images.behave(world, &image, &Behaviour::Silent { hint: None });
            }
            "instances are silent"
        }
        2 => {
            world.set_unreachable(true);
            "the node is away"
        }
        3 => {
            world.refuse_removals(Some("no space is left"));
            "removals are refused"
        }
        _ => {
            world.set_room(Some(0));
            "there is memory for no instance"
        }
    }
}

/// Nothing is wrong any more.
pub(crate) fn heal(world: &World, images: &mut Images) {
    world.set_unreachable(false);
    world.lose(0, 0);
    world.refuse_removals(None);
    world.set_room(None);
    for (_, image) in images.all.clone() {
        images.behave(world, &image, &Behaviour::Healthy);
    }
    for (index, source) in SOURCES.iter().enumerate() {
        world.script(source, BuildScript::Makes(outcome(index)));
    }
}
