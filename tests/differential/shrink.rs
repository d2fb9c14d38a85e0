//! From the case that differs to the smallest one that still does.

use serde_json::Value;

use crate::case::{Difference, Stand};
use crate::world::World;

/// Takes away worlds, then whatever else can go, as long as the same thing is still wrong.
pub(crate) fn smallest(stand: &mut Stand, mut difference: Box<Difference>) -> Box<Difference> {
    let invalid = difference.steps.iter().map(World::invalid_policies).sum();
    let mut index = 0;
    while difference.steps.len() > 1 && index < difference.steps.len() - 1 {
        let mut fewer = difference.steps.clone();
        fewer.remove(index);
        match stand.again(&fewer, &difference.wrong, invalid) {
            Some(smaller) => difference = smaller,
            None => index += 1,
        }
    }
    loop {
        let before = serde_json::to_value(&difference.steps).expect("a world is JSON");
        let mut value = before.clone();
        for path in paths(&before) {
            let mut without = value.clone();
            if !remove(&mut without, &path) {
                continue;
            }
            let Ok(steps) = serde_json::from_value::<Vec<World>>(without.clone()) else { continue };
            if steps.len() != difference.steps.len() {
                continue;
            }
            if let Some(smaller) = stand.again(&steps, &difference.wrong, invalid) {
                (difference, value) = (smaller, without);
            }
        }
        // Not by the value: what is required comes back as soon as it is read.
        if serde_json::to_value(&difference.steps).expect("a world is JSON") == before {
            return difference;
        }
    }
}

/// A step towards a part of a value.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The way to every part that may go, the larger before the smaller, and the last of a list first, so that what is still to come
/// stays where it is.
fn paths(value: &Value) -> Vec<Vec<Step>> {
    let mut found = Vec::new();
    walk(value, &mut Vec::new(), &mut found);
    found
}

fn walk(value: &Value, here: &mut Vec<Step>, found: &mut Vec<Vec<Step>>) {
    let parts: Vec<(Step, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().rev().map(|(index, item)| (Step::Index(index), item)).collect(),
        Value::Object(map) => map.iter().map(|(key, item)| (Step::Key(key.clone()), item)).collect(),
        _ => Vec::new(),
    };
    for (step, part) in parts {
        // Without those an object is another one.
        let names = matches!(&step, Step::Key(key) if ["name", "namespace", "uid", "nodeName"].contains(&key.as_str()));
        let lists = matches!(&step, Step::Key(key) if ["namespaces", "pods", "policies"].contains(&key.as_str()));
        here.push(step);
        // The worlds themselves have had their turn.
        if here.len() > 1 && !names && !lists {
            found.push(here.clone());
        }
        walk(part, here, found);
        here.pop();
    }
}

/// Whether there was something to remove.
fn remove(value: &mut Value, path: &[Step]) -> bool {
    let Some((last, way)) = path.split_last() else { return false };
    let mut here = value;
    for step in way {
        let next = match step {
            Step::Key(key) => here.get_mut(key),
            Step::Index(index) => here.get_mut(index),
        };
        let Some(next) = next else { return false };
        here = next;
    }
    match (here, last) {
        (Value::Array(items), Step::Index(index)) if *index < items.len() => {
            items.remove(*index);
            true
        }
        (Value::Object(map), Step::Key(key)) => map.remove(key).is_some(),
        _ => false,
    }
}
