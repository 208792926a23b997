//! The build cache: what an op made, by the content it was made from.
//!
//! A [`Recipe`] says everything a result depends on: the op's definition, the stack it works on, the digests of what it
//! reads. Its digest is the [`CacheKey`]. The recipe itself is kept too, so that a later build can tell *why* its key
//! is another one.

mod inputs;
mod why;

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use inputs::{Input, InputChange, InputChanges, Inputs};
pub use why::{Difference, Miss, MountChange, VariableOrigin, differences};

use crate::oci::{DiffId, Digest};
use crate::store::{BuildId, CacheRow, Error, PastStep, Store};

/// Identifies an op together with the content of its inputs.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CacheKey(Digest);

impl CacheKey {
    /// Returns the digest itself.
    pub const fn digest(&self) -> Digest {
        self.0
    }
}

impl From<Digest> for CacheKey {
    fn from(digest: Digest) -> CacheKey {
        CacheKey(digest)
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CacheKey({})", self.0)
    }
}

/// Everything a result depends on, as canonical JSON: no blanks, members sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipe {
    bytes: Vec<u8>,
    key: CacheKey,
}

impl Recipe {
    /// Returns the recipe that says `content`.
    ///
    /// # Panics
    /// If `content` cannot be JSON, which only maps with keys other than text and failing `Serialize` bodies are.
    pub fn new(content: impl Serialize) -> Recipe {
        let value = serde_json::to_value(content).expect("recipes are made of types that are JSON");
        Recipe::of(canonical(value).to_string().into_bytes())
    }

    fn of(bytes: Vec<u8>) -> Recipe {
        Recipe { key: CacheKey(Digest::of(&bytes)), bytes }
    }

    /// Returns its key.
    pub fn key(&self) -> CacheKey {
        self.key
    }

    /// Returns the canonical JSON.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns what it says.
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }
}

/// Sorts the members of every object; the order in which a type declares its fields is not content.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().map(|(name, value)| (name, canonical(value))).collect();
            members.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

/// What an op made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key it was found under.
    pub key: CacheKey,
    /// The layer; none where the op made none.
    pub result: Option<DiffId>,
    /// When it was made, to the microsecond.
    pub created: Timestamp,
    /// By which build.
    pub build: BuildId,
}

/// The results of past ops.
#[derive(Debug, Clone)]
pub struct Cache {
    store: Store,
}

impl Cache {
    /// Returns the cache kept in `store`.
    pub fn new(store: &Store) -> Cache {
        Cache { store: store.clone() }
    }

    /// Returns what an op with this key made, as long as its layer is still in the store.
    ///
    /// # Errors
    /// Those of the store.
    pub fn lookup(&self, key: &CacheKey) -> Result<Option<Entry>, Error> {
        let row = self.store.cached(key.0)?;
        Ok(row.map(|CacheRow { result, created, build }| Entry { key: *key, result, created, build }))
    }

    /// Remembers what the op of `recipe` made, and which files it read. The layer must be in the store; an older result
    /// is replaced.
    ///
    /// # Errors
    /// Those of the store.
    pub fn insert(
        &self,
        recipe: &Recipe,
        inputs: Option<&Inputs>,
        result: Option<DiffId>,
        build: &BuildId,
        created: Timestamp,
    ) -> Result<Entry, Error> {
        let row = CacheRow { result, created, build: build.clone() };
        self.store.put_cached(recipe.key.0, &row, &recipe.bytes, inputs.map(Inputs::as_bytes))?;
        Ok(Entry { key: recipe.key, result, created, build: row.build })
    }

    /// Returns when the result of a key was removed; nothing where the key was never there, or its result still is.
    ///
    /// # Errors
    /// Those of the store.
    pub fn removed(&self, key: &CacheKey) -> Result<Option<Miss>, Error> {
        Ok(self.store.cached_removal(key.0)?.map(|at| Miss::Removed { at }))
    }

    /// Returns what the op of a key read; nothing where that was not remembered.
    ///
    /// # Errors
    /// Those of the store.
    pub fn inputs(&self, key: &CacheKey) -> Result<Option<Inputs>, Error> {
        Ok(self.store.cached_inputs(key.0)?.map(Inputs::from_bytes))
    }

    /// Returns the steps of the last builds of a project, the newest first.
    ///
    /// # Errors
    /// Those of the store.
    pub fn past_steps(&self, project: &str) -> Result<Vec<PastStep>, Error> {
        self.store.past_steps(project)
    }

    /// Returns the last steps, of whatever build, that said this.
    ///
    /// # Errors
    /// Those of the store.
    pub fn steps_saying(&self, text: &str) -> Result<Vec<PastStep>, Error> {
        self.store.steps_saying(text)
    }

    /// Returns the recipe of a key that was inserted once.
    ///
    /// # Errors
    /// Those of the store.
    pub fn recipe(&self, key: &CacheKey) -> Result<Option<Recipe>, Error> {
        Ok(self.store.cached_recipe(key.0)?.map(Recipe::of))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cache() -> (tempfile::TempDir, Cache, BuildId) {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path()).unwrap();
        let build = store.begin_build("test").unwrap();
        (directory, Cache::new(&store), build)
    }

    fn layer(store: &Store, content: &str) -> DiffId {
        let diff_id = DiffId::new(store.put_bytes(content.as_bytes()).unwrap());
        store.put_layer(diff_id, content.len() as u64, b"index").unwrap();
        diff_id
    }

    #[test]
    fn recipes_that_say_the_same_have_the_same_key() {
        let one = Recipe::new(json!({ "b": [{ "y": 1, "x": null }], "a": "text" }));
        let two = Recipe::new(json!({ "a": "text", "b": [{ "x": null, "y": 1 }] }));
        assert_eq!(one.bytes(), br#"{"a":"text","b":[{"x":null,"y":1}]}"#);
        assert_eq!(one, two);
        assert_eq!(one.key().digest(), Digest::of(one.bytes()));
        assert_ne!(one.key(), Recipe::new(json!({ "a": "text", "b": [{ "x": null, "y": 2 }] })).key());
    }

    #[test]
    fn what_was_made_is_found_again_and_the_newest_wins() {
        let (_directory, cache, build) = cache();
        let recipe = Recipe::new("recipe");
        let created: Timestamp = "2026-01-02T03:04:05.678901Z".parse().unwrap();
        assert_eq!(cache.lookup(&recipe.key()).unwrap(), None);
        let (old, new) = (layer(&cache.store, "old"), layer(&cache.store, "new"));
        cache.insert(&recipe, None, Some(old), &build, created).unwrap();
        let inserted = cache.insert(&recipe, None, Some(new), &build, created).unwrap();
        assert_eq!(cache.lookup(&recipe.key()).unwrap(), Some(inserted.clone()));
        assert_eq!((inserted.result, inserted.created, inserted.build), (Some(new), created, build.clone()));
        let nothing = Recipe::new("makes no layer");
        cache.insert(&nothing, None, None, &build, created).unwrap();
        assert_eq!(cache.lookup(&nothing.key()).unwrap().unwrap().result, None);
    }

    #[test]
    fn a_result_whose_layer_is_lost_is_none() {
        let (_directory, cache, build) = cache();
        let (recipe, lost) = (Recipe::new("recipe"), layer(&cache.store, "content"));
        cache.insert(&recipe, None, Some(lost), &build, Timestamp::now()).unwrap();
        assert_eq!(cache.removed(&recipe.key()).unwrap(), None);
        std::fs::remove_file(cache.store.blob_path(lost.digest())).unwrap();
        assert_eq!(cache.lookup(&recipe.key()).unwrap(), None);
        assert_eq!(cache.removed(&recipe.key()).unwrap(), Some(Miss::Removed { at: None }));
        assert_eq!(cache.removed(&Recipe::new("never").key()).unwrap(), None);
    }

    #[test]
    fn a_result_whose_layer_was_removed_is_none() {
        let (_directory, cache, build) = cache();
        let (recipe, gone) = (Recipe::new("recipe"), layer(&cache.store, "content"));
        cache.insert(&recipe, None, Some(gone), &build, Timestamp::now()).unwrap();
        cache.store.doom_layer(gone).unwrap();
        let root = cache.store.root().to_owned();
        drop(cache);
        let cache = Cache::new(&Store::open(&root).unwrap());
        assert_eq!(cache.lookup(&recipe.key()).unwrap(), None);
        assert!(matches!(cache.removed(&recipe.key()).unwrap(), Some(Miss::Removed { at: Some(_) })));
    }

    #[test]
    fn recipes_are_kept_whole_however_long() {
        let (_directory, cache, build) = cache();
        for length in [1, 100, 1_000_000] {
            let recipe = Recipe::new(json!({ "files": vec!["x"; length] }));
            cache.insert(&recipe, None, None, &build, Timestamp::now()).unwrap();
            assert_eq!(cache.recipe(&recipe.key()).unwrap().as_ref(), Some(&recipe));
            assert_eq!(recipe.value()["files"].as_array().unwrap().len(), length);
        }
        assert_eq!(cache.recipe(&Recipe::new("absent").key()).unwrap(), None);
    }
}
