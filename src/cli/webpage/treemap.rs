//! Rectangles whose areas are sizes (Bruls, Huizing, van Wijk: "Squarified Treemaps", 2000).

/// A rectangle, in the units of the whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rectangle {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Returns a rectangle for each size, which fill `whole` together. Sizes come in descending order; those of nothing get
/// none of the room.
#[expect(clippy::cast_precision_loss, reason = "areas of a picture")]
pub(super) fn squarify(sizes: &[u64], whole: Rectangle) -> Vec<Rectangle> {
    let total: u64 = sizes.iter().sum();
    let scale = if total == 0 { 0.0 } else { whole.width * whole.height / total as f64 };
    let areas: Vec<f64> = sizes.iter().map(|&size| size as f64 * scale).collect();
    let mut rectangles = Vec::with_capacity(sizes.len());
    let (mut left, mut rest) = (whole, &areas[..]);
    while !rest.is_empty() {
        let side = left.width.min(left.height);
        let mut length = 1;
        while length < rest.len() && worst(&rest[..=length], side) <= worst(&rest[..length], side) {
            length += 1;
        }
        let (row, after) = rest.split_at(length);
        left = place(row, left, &mut rectangles);
        rest = after;
    }
    rectangles
}

/// Returns how far from a square the worst rectangle of a row is.
fn worst(row: &[f64], side: f64) -> f64 {
    let sum: f64 = row.iter().sum();
    let (least, most) = row.iter().fold((f64::MAX, 0.0_f64), |(least, most), &area| (least.min(area), most.max(area)));
    let (side, sum) = (side * side, sum * sum);
    if least <= 0.0 || side <= 0.0 { f64::MAX } else { (side * most / sum).max(sum / (side * least)) }
}

/// Lays a row along the shorter side; returns what is left.
fn place(row: &[f64], left: Rectangle, rectangles: &mut Vec<Rectangle>) -> Rectangle {
    let sum: f64 = row.iter().sum();
    let is_wide = left.width >= left.height;
    let side = left.width.min(left.height);
    let thickness = if side > 0.0 { sum / side } else { 0.0 };
    let mut at = 0.0;
    for area in row {
        let length = if thickness > 0.0 { area / thickness } else { 0.0 };
        rectangles.push(if is_wide {
            Rectangle { x: left.x, y: left.y + at, width: thickness, height: length }
        } else {
            Rectangle { x: left.x + at, y: left.y, width: length, height: thickness }
        });
        at += length;
    }
    if is_wide {
        Rectangle { x: left.x + thickness, width: (left.width - thickness).max(0.0), ..left }
    } else {
        Rectangle { y: left.y + thickness, height: (left.height - thickness).max(0.0), ..left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Rectangle = Rectangle { x: 0.0, y: 0.0, width: 600.0, height: 400.0 };

    #[test]
    fn areas_are_sizes_and_fill_the_whole() {
        for sizes in [&[6, 6, 4, 3, 2, 2, 1][..], &[1], &[5, 0, 0], &[0, 0], &[], &[u64::MAX / 4, 1, 1]] {
            let rectangles = squarify(sizes, WHOLE);
            assert_eq!(rectangles.len(), sizes.len());
            let total: u64 = sizes.iter().sum();
            for (size, rectangle) in sizes.iter().zip(&rectangles) {
                let share = if total == 0 { 0.0 } else { *size as f64 / total as f64 };
                let area = rectangle.width * rectangle.height / (WHOLE.width * WHOLE.height);
                assert!((area - share).abs() < 1e-6, "{sizes:?} {rectangle:?}");
                assert!(rectangle.x + rectangle.width < 600.001 && rectangle.y + rectangle.height < 400.001);
            }
        }
    }

    #[test]
    fn rectangles_are_no_stripes() {
        // The paper's own example stays below 3 to 2 but for the last ones.
        let rectangles = squarify(&[6, 6, 4, 3, 2, 2, 1], WHOLE);
        let ratio = |one: &Rectangle| (one.width / one.height).max(one.height / one.width);
        assert!(rectangles.iter().all(|one| ratio(one) < 3.0), "{rectangles:?}");
    }
}
