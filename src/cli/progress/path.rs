//! Where the time of a build went, in a few lines.

use std::fmt::Write as _;
use std::time::Duration;

use super::text::without_controls;
use crate::cli::human;
use crate::solve::{CriticalPath, Link};

/// How many links are shown: the longest.
const SHOWN: usize = 5;
/// More of a title than this tells nobody more.
const TITLE: usize = 72;

/// Returns the lines for a build that took `whole`.
pub(super) fn text(path: &CriticalPath, whole: Duration) -> String {
    // Less than a hundredth is nothing that anybody could mend.
    let counts = |(_, link): &(usize, &Link)| link.duration * 100 >= path.time;
    let mut shown: Vec<(usize, &Link)> = path.links.iter().enumerate().filter(counts).collect();
    shown.sort_by_key(|(_, link)| std::cmp::Reverse(link.duration));
    shown.truncate(SHOWN);
    shown.sort_by_key(|(place, _)| *place);
    let mut text = format!("critical path: {} of {}\n", human::duration(path.time), human::duration(whole));
    for (_, link) in shown {
        let title = without_controls(link.title.lines().next().unwrap_or_default());
        let title: String = title.chars().take(TITLE).collect();
        let number = link.number.map(|number| format!("#{number} ")).unwrap_or_default();
        let _ = writeln!(text, "{:>8}  {number}{title}{}", human::duration(link.duration), facts(link));
    }
    text
}

/// Returns what is known of a link besides its time.
fn facts(link: &Link) -> String {
    let facts = [
        (!link.cpu.is_zero()).then(|| format!("cpu {}", human::duration(link.cpu))),
        (link.peak_memory_bytes > 0).then(|| format!("peak {}", human::size(link.peak_memory_bytes))),
        (link.layer_bytes > 0).then(|| format!("layer {}", human::size(link.layer_bytes))),
    ];
    let facts: Vec<String> = facts.into_iter().flatten().collect();
    if facts.is_empty() { String::new() } else { format!("  ({})", facts.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(number: usize, milliseconds: u64) -> Link {
        let title = format!("[{number}/9] RUN make {number}\nmore");
        Link { number: Some(number), title, duration: Duration::from_millis(milliseconds), ..Link::default() }
    }

    #[test]
    fn the_longest_links_are_shown_in_the_order_of_time() {
        let mut links: Vec<Link> =
            [10, 2000, 30, 700, 30, 900].into_iter().enumerate().map(|(place, time)| link(place + 1, time)).collect();
        links[1].cpu = Duration::from_millis(1900);
        (links[1].peak_memory_bytes, links[1].layer_bytes) = (210_000_000, 48_000_000);
        links.push(Link { title: "writing image".into(), duration: Duration::from_millis(40), ..Link::default() });
        let time = Duration::from_millis(3710);
        let path = CriticalPath { links, time, executed_steps: 6, cached_steps: 2 };
        let expected = "critical path: 3.7s of 4.0s\n    2.0s  #2 [2/9] RUN make 2  (cpu 1.9s, peak 210MB, layer 48MB)\n    \
             0.7s  #4 [4/9] RUN make 4\n    0.9s  #6 [6/9] RUN make 6\n    40ms  writing image\n";
        assert_eq!(text(&path, Duration::from_secs(4)), expected);
    }
}
