use std::io::{self, Write};

use serde_json::{Value, json};

use crate::cli::table::Format;
use crate::cli::{Error, human, name};
use crate::engine::Provenance;
use crate::layer::Usage;

/// What an image is held against. The longer names are dive's.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Rules {
    /// At least this part of all bytes must be seen, from 0 to 1
    #[arg(long, alias = "lowestEfficiency", value_name = "PART", default_value = "0.9", requires = "ci", value_parser = part)]
    min_efficiency: f64,
    /// At most this much may be wasted, such as 20MB
    #[arg(long, alias = "highestWastedBytes", value_name = "SIZE", requires = "ci", value_parser = human::parse_size)]
    max_wasted: Option<u64>,
    /// At most this part of the bytes of the layers above the base may be wasted by them, from 0 to 1
    #[arg(
        long,
        alias = "highestUserWastedPercent",
        value_name = "PART",
        default_value = "0.1",
        requires = "ci",
        value_parser = part
    )]
    max_user_wasted_percent: f64,
}

fn part(text: &str) -> Result<f64, String> {
    let part: f64 = text.parse().map_err(|_| "it is no number".to_owned())?;
    if (0.0..=1.0).contains(&part) { Ok(part) } else { Err("it is not between 0 and 1".to_owned()) }
}

/// A rule, with what came of it.
#[derive(Debug, PartialEq)]
struct Judged {
    rule: &'static str,
    found: String,
    allowed: String,
    passed: bool,
}

/// What is counted.
struct Figures {
    bytes: u64,
    efficiency: f64,
    wasted_bytes: u64,
    /// Of the layers above the base.
    user_bytes: u64,
    /// What these hide.
    user_wasted_bytes: u64,
}

/// This many wasted paths are printed.
const LISTED_PATHS: usize = 20;

impl Figures {
    fn of(usage: &Usage, base_layers: usize) -> Figures {
        let own = usage.layers.get(base_layers..).unwrap_or_default();
        Figures {
            bytes: usage.bytes(),
            efficiency: usage.efficiency(),
            wasted_bytes: usage.wasted_bytes(),
            user_bytes: own.iter().map(|layer| layer.bytes).sum(),
            user_wasted_bytes: usage
                .wasted
                .iter()
                .filter(|waste| waste.hidden_by >= base_layers)
                .map(|waste| waste.bytes)
                .sum(),
        }
    }

    /// Returns which part of what the user's layers take is wasted by them; they can waste more than they take.
    #[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
    fn user_wasted(&self) -> f64 {
        match (self.user_bytes, self.user_wasted_bytes) {
            (_, 0) => 0.0,
            (0, _) => 1.0,
            (bytes, wasted) => (wasted as f64 / bytes as f64).min(1.0),
        }
    }
}

impl Rules {
    fn judge(&self, figures: &Figures) -> Vec<Judged> {
        let mut judged = vec![Judged {
            rule: "min-efficiency",
            found: format!("{:.4}", figures.efficiency),
            allowed: self.min_efficiency.to_string(),
            passed: figures.efficiency >= self.min_efficiency,
        }];
        judged.extend(self.max_wasted.map(|most| Judged {
            rule: "max-wasted",
            found: human::size(figures.wasted_bytes),
            allowed: human::size(most),
            passed: figures.wasted_bytes <= most,
        }));
        judged.push(Judged {
            rule: "max-user-wasted-percent",
            found: format!("{:.4}", figures.user_wasted()),
            allowed: self.max_user_wasted_percent.to_string(),
            passed: figures.user_wasted() <= self.max_user_wasted_percent,
        });
        judged
    }
}

/// Prints what an image wastes, and what the rules say of it.
pub(super) fn run(rules: &Rules, format: Format, provenance: &Provenance) -> Result<(), Error> {
    let base_layers = provenance.base.as_ref().map_or(1, |(_, layers)| *layers);
    let figures = Figures::of(&provenance.usage, base_layers);
    let judged = rules.judge(&figures);
    let mut out = io::stdout().lock();
    match format {
        Format::Table => out.write_all(text(provenance, &figures, &judged).as_bytes())?,
        Format::Json => writeln!(out, "{:#}", object(provenance, &figures, &judged))?,
    }
    if judged.iter().all(|rule| rule.passed) { Ok(()) } else { Err(Error::Reported) }
}

fn text(provenance: &Provenance, figures: &Figures, judged: &[Judged]) -> String {
    let wasted = &provenance.usage.wasted;
    let mut text = format!(
        "{}\n  efficiency         {:.2}%\n  size               {}\n  wasted             {}\n  wasted by user     {} ({:.2}% of {})\n",
        name::visible(&provenance.name),
        figures.efficiency * 100.0,
        human::size(figures.bytes),
        human::size(figures.wasted_bytes),
        human::size(figures.user_wasted_bytes),
        figures.user_wasted() * 100.0,
        human::size(figures.user_bytes),
    );
    if !wasted.is_empty() {
        text += "\nwasted paths\n";
    }
    for waste in wasted.iter().take(LISTED_PATHS) {
        let copies = waste.layers.len();
        text += &format!("  {:>7}  {copies:>3}×  /{}\n", human::size(waste.bytes), name::shown(&waste.path));
    }
    if wasted.len() > LISTED_PATHS {
        text += &format!("  … {} more\n", wasted.len() - LISTED_PATHS);
    }
    text += "\nrules\n";
    for rule in judged {
        let verdict = if rule.passed { "pass" } else { "FAIL" };
        text += &format!("  {verdict}  {:24} {} (allowed {})\n", rule.rule, rule.found, rule.allowed);
    }
    text
}

fn object(provenance: &Provenance, figures: &Figures, judged: &[Judged]) -> Value {
    let rule = |rule: &Judged| json!({ "rule": rule.rule, "found": rule.found, "allowed": rule.allowed, "passed": rule.passed });
    let wasted = provenance.usage.wasted.iter().map(|waste| {
        let (path, path_hex) = name::exact(&waste.path);
        let layers: &[usize] = &waste.layers;
        json!({
            "path": path,
            "path_hex": path_hex,
            "bytes": waste.bytes,
            "layers": layers,
            "hidden_by": waste.hidden_by,
        })
    });
    json!({
        "image": provenance.name,
        "image_id": provenance.image_id,
        "bytes": figures.bytes,
        "efficiency": figures.efficiency,
        "wasted_bytes": figures.wasted_bytes,
        "user_bytes": figures.user_bytes,
        "user_wasted_bytes": figures.user_wasted_bytes,
        "user_wasted_percent": figures.user_wasted(),
        "passed": judged.iter().all(|rule| rule.passed),
        "rules": judged.iter().map(rule).collect::<Vec<_>>(),
        "wasted": wasted.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{LayerUsage, Waste};

    fn rules(max_wasted: Option<u64>) -> Rules {
        Rules { min_efficiency: 0.9, max_wasted, max_user_wasted_percent: 0.1 }
    }

    fn usage(wasted: u64, hidden_by: usize) -> Usage {
        let layer = |bytes, wasted_bytes| LayerUsage { bytes, wasted_bytes, ..LayerUsage::default() };
        let waste = Waste { path: b"a".to_vec(), bytes: wasted, layers: vec![0], hidden_by };
        Usage { layers: vec![layer(900, wasted), layer(50, 0), layer(50, 0)], wasted: vec![waste] }
    }

    fn broken(rules: &Rules, usage: &Usage, base_layers: usize) -> Vec<&'static str> {
        let judged = rules.judge(&Figures::of(usage, base_layers));
        judged.into_iter().filter(|rule| !rule.passed).map(|rule| rule.rule).collect()
    }

    #[test]
    fn each_rule_can_be_broken() {
        assert_eq!(broken(&rules(None), &usage(5, 2), 1), [""; 0]);
        assert_eq!(broken(&rules(None), &usage(11, 2), 1), ["max-user-wasted-percent"]);
        assert_eq!(broken(&rules(None), &usage(6, 2), 2), ["max-user-wasted-percent"], "of the layers above the base");
        assert_eq!(broken(&rules(None), &usage(101, 1), 2), ["min-efficiency"], "the base wastes that itself");
        assert_eq!(broken(&rules(Some(4)), &usage(5, 2), 1), ["max-wasted"]);
        assert_eq!(broken(&rules(Some(0)), &Usage::default(), 1), [""; 0], "an image without layers wastes nothing");
    }

    #[test]
    fn parts_are_between_nothing_and_all() {
        assert_eq!(part("0.95"), Ok(0.95));
        for wrong in ["95", "-0.1", "NaN", "much"] {
            assert!(part(wrong).is_err(), "{wrong}");
        }
    }
}
