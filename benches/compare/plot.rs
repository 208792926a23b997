//! Curves as SVG on logarithmic axes, written by hand: it is one function of a few lines and no dependency.

use std::fmt::Write as _;

use crate::curve::{Point, Series};
use crate::measure::Cost;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 55.0;

type Line = (&'static str, &'static str, fn(&Point) -> Cost);
const LINES: &[Line] = &[("first", "#1f5fa8", |point| point.first), ("again", "#c2571a", |point| point.again)];

/// The range of one axis, as powers of ten.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    /// Covers the values and reaches from one pixel to another.
    fn over(values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Axis {
        let low = values.clone().fold(f64::INFINITY, f64::min).log10();
        let high = values.fold(f64::NEG_INFINITY, f64::max).log10();
        let room = ((high - low) * 0.05).max(0.1);
        Axis { low: low - room, high: high + room, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value.log10() - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// 1, 2 and 5 of each power of ten within; powers alone where that would be too many.
    fn ticks(&self) -> Vec<f64> {
        let steps: &[f64] = if self.high - self.low > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = self.low.floor() as i32..=self.high.ceil() as i32;
        let all = powers.flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        all.filter(|value| (self.low..=self.high).contains(&value.log10())).collect()
    }
}

pub(crate) fn svg(series: &Series) -> String {
    let walls = series.points.iter().flat_map(|point| LINES.iter().map(|(_, _, of)| of(point).wall_s));
    let x = Axis::over(series.points.iter().map(|point| point.size as f64), LEFT, WIDTH - RIGHT);
    let y = Axis::over(walls, HEIGHT - BOTTOM, TOP);
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{HEIGHT}\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut out, LEFT, 22.0, "start", &series.what.replace('&', "and"));
    grid(&mut out, &x, &y);
    text(&mut out, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 12.0, "middle", series.unit);
    text(&mut out, 8.0, TOP - 8.0, "start", "wall time");
    linear(&mut out, series, &x, &y);
    for (number, line) in LINES.iter().enumerate() {
        draw(&mut out, series, line, number, (&x, &y));
    }
    out.push_str("</svg>\n");
    out
}

fn grid(out: &mut String, x: &Axis, y: &Axis) {
    for value in x.ticks() {
        let place = x.place(value);
        rule(out, (place, TOP), (place, HEIGHT - BOTTOM), "#ddd");
        text(out, place, HEIGHT - BOTTOM + 16.0, "middle", &count(value));
    }
    for value in y.ticks() {
        let place = y.place(value);
        rule(out, (LEFT, place), (WIDTH - RIGHT, place), "#ddd");
        text(out, LEFT - 6.0, place + 4.0, "end", &duration(value));
    }
}

/// What time would be if it grew as the size does, through the last point and as far down as the plot goes.
fn linear(out: &mut String, series: &Series, x: &Axis, y: &Axis) {
    let Some(last) = series.points.last() else { return };
    let (size, wall) = (last.size as f64, last.first.wall_s);
    let lowest = 10_f64.powf(y.low.max(wall.log10() - (size.log10() - x.low)));
    let start = (x.place(size * lowest / wall), y.place(lowest));
    let end = (x.place(size), y.place(wall));
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"#999\" stroke-dasharray=\"5 4\"/>",
        start.0, start.1, end.0, end.1
    );
}

fn draw(out: &mut String, series: &Series, (name, colour, of): &Line, number: usize, (x, y): (&Axis, &Axis)) {
    let places: Vec<(f64, f64)> =
        series.points.iter().map(|point| (x.place(point.size as f64), y.place(of(point).wall_s))).collect();
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ =
        writeln!(out, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>", path.join(" "));
    for (x, y) in &places {
        let _ = writeln!(out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>");
    }
    let last = series.points.last().map_or(0.0, |point| of(point).wall_s);
    let slope = series.slope(*of).map_or(String::new(), |slope| format!(", slope at the end {slope:.2}"));
    let place = LEFT + 10.0 + 270.0 * number as f64;
    let _ = writeln!(out, "<circle cx=\"{place}\" cy=\"{}\" r=\"3.5\" fill=\"{colour}\"/>", 36.0);
    text(out, place + 8.0, 40.0, "start", &format!("{name}: {}{slope}", duration(last)));
}

fn rule(out: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(out, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
}

fn count(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.0}M", value / 1e6),
        value if value >= 1e3 => format!("{:.0}k", value / 1e3),
        value => format!("{value:.0}"),
    }
}

pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        seconds if seconds >= 10.0 => format!("{seconds:.0} s"),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", seconds * 1e3),
        seconds => format!("{:.1} ms", seconds * 1e3),
    }
}
