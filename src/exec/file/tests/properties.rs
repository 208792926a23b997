use proptest::prelude::*;
use proptest::sample::select;

use super::*;

const BASE_LINES: &str = "
    d 755 0:0 d
    d 700 1:1 d/sub
    f 644 0:0 d/a old
    l d/l /e
    l dang nowhere/x
    d 755 0:0 e
    f 600 0:0 e/f old
";

fn action() -> impl Strategy<Value = FileAction> {
    let path = select(vec!["f1.txt", "f*", "dir", "dir/*", "tofile", "todir", "dir/sub/."]);
    let destination = select(vec!["/", "/d", "/d/", "/d/l", "/dang", "/n", "/n/m/", "/e/f", "/e/../n"]);
    let options = select(vec![CopyOptions::default(), owned("7"), moded("600"), moded("a+X")]);
    (path, destination, options).prop_map(|(path, destination, options)| copy_with(path, destination, options))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn layers_are_in_order_and_doing_it_again_changes_nothing(actions in proptest::collection::vec(action(), 1..4)) {
        let directory = on_disk(FILES);
        let context = context(directory.path(), "");
        let mut base = Layer::of(BASE_LINES);
        let first = base.entries.clone();
        if let Ok(layer) = entries(Source::Context(&context), &base, actions.clone()) {
            let places: Vec<staged::Place> = layer.iter().map(|entry| staged::Place::new(&entry.path)).collect();
            prop_assert!(places.is_sorted_by(|a, b| a < b));
            for entry in &layer {
                let (parent, _) = resolve::split(&entry.path);
                let above = |other: &Entry| other.path == parent && other.kind == Kind::Directory;
                prop_assert!(parent.is_empty() || layer.iter().any(above), "{entry:?}");
            }
            base.view = View::of([&Index::from_iter(first), &Index::from_iter(layer)]);
            let again = entries(Source::Context(&context), &base, actions).unwrap();
            prop_assert!(again.is_empty(), "{again:?}");
        }
    }
}
