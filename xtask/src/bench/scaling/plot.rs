//! A trace and what each scaler made of it, drawn as SVG: two panels over one time. Text and numbers go in, text comes
//! out.
//!
//! Lines differ in their dashes and are named beside a sample of each, so that colours only help. They are those of the
//! reader's scheme, light or dark. A file refers to nothing outside of it and has a bounded number of points.

use std::fmt::Write as _;

/// One line has at most so many points; further ones are put together, and show the most of theirs.
const POINTS_MAX: usize = 240;
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
/// Where the panels begin and end.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 708.0;
const UPPER: (f64, f64) = (48.0, 148.0);
const LOWER: (f64, f64) = (200.0, 348.0);
/// Parts of an axis between its numbers.
const PARTS: u32 = 4;
/// Of the time axis.
const MINUTES_FROM_S: u32 = 300;
/// Of a name in the legend, with its sample.
const LEGEND_WIDTH: f64 = 120.0;
const SAMPLE_WIDTH: f64 = 28.0;

/// Colours of the reader's scheme, and the dashes of each line in their order.
const STYLE: &str = "text{font:12px sans-serif;fill:#1f2328}.n{text-anchor:end}.t{text-anchor:middle}\
    .p{fill:#fff}.a{stroke:#d1d9e0}path{fill:none;stroke-width:1.8}\
    .l{stroke:#57606a}.l0{stroke:#0550ae}.l1{stroke:#a04100;stroke-dasharray:7 3}.l2{stroke:#57606a;stroke-dasharray:2 3}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.p{fill:#0d1117}.a{stroke:#3d444d}\
    .l,.l2{stroke:#9da7b3}.l0{stroke:#6cb6ff}.l1{stroke:#ffa657}}";
/// Lines that `STYLE` tells apart.
pub(super) const LINES_MAX: usize = 3;

/// What is drawn.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    /// Requests that came in each second.
    pub(super) arrivals: Vec<u32>,
    /// Instances at the end of each second by a scaler's name, at most `LINES_MAX`.
    pub(super) instances: Vec<(&'a str, Vec<u32>)>,
}

/// One panel: where it is, and what its axes end at.
struct Panel {
    top: f64,
    bottom: f64,
    seconds: u32,
    most: u32,
}

pub(super) fn svg(plot: &Plot) -> String {
    let seconds = plot.arrivals.len() as u32;
    let most = |values: &[u32]| round_up(values.iter().copied().max().unwrap_or(0));
    let panel = |(top, bottom), most| Panel { top, bottom, seconds, most };
    let upper = panel(UPPER, most(&plot.arrivals));
    let lower = panel(LOWER, plot.instances.iter().map(|(_, line)| most(line)).max().unwrap_or(PARTS));
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\
         <title>{title}</title><style>{STYLE}</style>\
         <rect class=\"p\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">{title}</text>\n\
         <text x=\"{LEFT}\" y=\"40\">requests per second</text>\n",
        title = escaped(plot.title),
    );
    text += &upper.axes();
    text += &path("l", &upper.slopes(&plot.arrivals));
    text += &legend(plot.instances.iter().map(|(name, _)| *name));
    text += &lower.axes();
    for (place, (_, line)) in plot.instances.iter().enumerate() {
        text += &path(&format!("l{place}"), &lower.steps(line));
    }
    text + "</svg>\n"
}

/// To a number whose quarters are whole.
fn round_up(most: u32) -> u32 {
    let step = match most {
        0..40 => PARTS,
        40..400 => PARTS * 5,
        _ => PARTS * 50,
    };
    most.max(1).div_ceil(step) * step
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn path(class: &str, data: &str) -> String {
    format!("<path class=\"{class}\" d=\"{data}\"/>\n")
}

/// The name of each line beside a sample of it.
fn legend<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let y = LOWER.0 - 12.0;
    let mut text = format!("<text x=\"{LEFT}\" y=\"{}\">instances</text>\n", y + 4.0);
    for (place, name) in names.enumerate() {
        let x = LEFT + 100.0 + LEGEND_WIDTH * place as f64;
        text += &path(&format!("l{place}"), &format!("M{x} {y}h{SAMPLE_WIDTH}"));
        let (x, y) = (x + SAMPLE_WIDTH + 6.0, y + 4.0);
        text += &format!("<text x=\"{x}\" y=\"{y}\">{}</text>\n", escaped(name));
    }
    text
}

/// At most `POINTS_MAX` of the values, each the most of as many, and how many that is.
fn reduced(values: &[u32]) -> (Vec<u32>, usize) {
    let each = values.len().div_ceil(POINTS_MAX).max(1);
    (values.chunks(each).map(|chunk| chunk.iter().copied().max().unwrap_or(0)).collect(), each)
}

impl Panel {
    fn x(&self, second: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * second / f64::from(self.seconds.max(1))
    }

    fn y(&self, value: u32) -> f64 {
        self.bottom - (self.bottom - self.top) * f64::from(value) / f64::from(self.most)
    }

    fn axes(&self) -> String {
        let (mut text, mut lines) = (String::new(), String::new());
        let (unit_s, unit) = if self.seconds >= MINUTES_FROM_S { (60.0, "min") } else { (1.0, "s") };
        for part in 0..=PARTS {
            let value = self.most * part / PARTS;
            let y = self.y(value);
            let _ = write!(lines, "M{LEFT} {y:.1}H{RIGHT}");
            let _ =
                writeln!(text, "<text class=\"n\" x=\"{}\" y=\"{:.1}\">{value}</text>", LEFT - 6.0, y + 4.0);
            let second = f64::from(self.seconds) * f64::from(part) / f64::from(PARTS);
            // The last one would not fit below its end.
            let x = self.x(second).min(RIGHT - 14.0);
            let y = self.bottom + 16.0;
            let _ = writeln!(
                text,
                "<text class=\"t\" x=\"{x:.1}\" y=\"{y:.1}\">{} {unit}</text>",
                second / unit_s
            );
        }
        path("a", &lines) + &text
    }

    /// From value to value.
    fn slopes(&self, values: &[u32]) -> String {
        let (values, each) = reduced(values);
        let mut data = String::new();
        for (place, value) in values.into_iter().enumerate() {
            let x = self.x(((place as f64 + 0.5) * each as f64).min(f64::from(self.seconds)));
            let _ = write!(data, "{}{x:.1} {:.1}", if place == 0 { 'M' } else { 'L' }, self.y(value));
        }
        data
    }

    /// Each value until the next one; what stays is one stroke.
    fn steps(&self, values: &[u32]) -> String {
        let (values, each) = reduced(values);
        let Some(first) = values.first() else { return String::new() };
        let mut data = format!("M{LEFT} {:.1}", self.y(*first));
        for (place, pair) in values.windows(2).enumerate().filter(|(_, pair)| pair[0] != pair[1]) {
            let _ = write!(data, "H{:.1}V{:.1}", self.x(((place + 1) * each) as f64), self.y(pair[1]));
        }
        let _ = write!(data, "H{RIGHT}");
        data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(seconds: u32) -> String {
        let line = |of: u32| (0..seconds).map(|second| second * of % 17).collect::<Vec<_>>();
        svg(&Plot {
            title: "more < less & so on",
            arrivals: (0..seconds).map(|second| second * 37 % 900).collect(),
            instances: vec![("ours", line(1)), ("theirs", line(3)), ("others'", line(5))],
        })
    }

    #[test]
    fn it_is_small_however_long_the_trace_is() {
        for seconds in [120, 480, 1_440, 100_000] {
            let text = plot(seconds);
            assert!(text.len() < 24 * 1024, "{seconds} s: {} bytes", text.len());
            let points = text.matches(['L', 'V', 'H']).count();
            assert!(points <= 7 * POINTS_MAX + 50, "{seconds} s: {points} points");
        }
    }

    #[test]
    fn it_is_whole_and_needs_nothing_else() {
        let text = plot(480);
        assert!(text.contains("more &lt; less &amp; so on"));
        assert_eq!(text.matches("://").count(), 1, "the name of the format only");
        assert!(!text.contains("href") && !text.contains("url(") && !text.contains("NaN"));
        let (opened, closed) = (text.matches('<').count(), text.matches('>').count());
        assert_eq!(opened, closed);
        for tag in ["text", "svg", "style", "title"] {
            let begun = text.matches(&format!("<{tag} ")).count() + text.matches(&format!("<{tag}>")).count();
            assert_eq!(begun, text.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn lines_differ_without_their_colours_and_have_those_of_both_schemes() {
        let (light, dark) = STYLE.split_once("@media(prefers-color-scheme:dark)").unwrap();
        let dashes = |line: &str| {
            let rule = light.split_once(&format!("{line}{{")).unwrap().1.split_once('}').unwrap().0;
            rule.split_once("dasharray:").map(|(_, dashes)| dashes.to_owned())
        };
        let all: Vec<_> = (0..LINES_MAX).map(|place| dashes(&format!(".l{place}"))).collect();
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2], "{all:?}");
        assert!((0..LINES_MAX).all(|place| dark.contains(&format!(".l{place}"))));
        for name in ["ours", "theirs", "others'"] {
            assert!(plot(60).contains(&format!(">{name}</text>")));
        }
    }

    #[test]
    fn a_panel_is_filled_from_its_foot_to_its_top() {
        let panel = Panel { top: 0.0, bottom: 100.0, seconds: 4, most: 8 };
        assert_eq!([panel.y(0), panel.y(8), panel.x(0.0), panel.x(4.0)], [100.0, 0.0, LEFT, RIGHT]);
        assert_eq!(panel.steps(&[2, 2, 8, 8]), format!("M{LEFT} 75.0H{:.1}V0.0H{RIGHT}", panel.x(2.0)));
        assert_eq!(["40", "60", "1000"].map(|most| round_up(most.parse().unwrap())), [40, 60, 1_000]);
        assert_eq!([round_up(0), round_up(7), round_up(101)], [4, 8, 120]);
    }
}
