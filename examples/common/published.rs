//! The published points: networks of a flavor, width and resolution with the accuracy that their authors found.

use sepconv::models::{Architecture, Flavor};

use crate::common::{Failure, Flags};

/// Every published point: network, flavor, width, groups where there are some, resolution, top-1 in percent.
const PUBLISHED: &str = include_str!("../../data/published_top1.csv");

/// A network with its accuracy on ImageNet.
#[derive(Debug, Clone)]
pub struct Point {
    pub network: Architecture,
    pub flavor: Flavor,
    pub width: f64,
    pub groups: Option<usize>,
    pub resolution: usize,
    /// In percent.
    pub top1: f64,
}

impl Point {
    /// Whether `flags` leave the point in.
    fn is_chosen(&self, flags: &Flags) -> bool {
        flags.net.is_none_or(|net| net == self.network)
            && flags.flavor.is_none_or(|flavor| flavor == self.flavor)
            && flags.width.is_none_or(|width| width == self.width)
            && flags.groups.is_none_or(|groups| Some(groups) == self.groups)
            && flags.resolution.is_none_or(|resolution| resolution == self.resolution)
    }

    /// `flags` for this point, in `flavor`.
    pub fn flags(&self, flags: &Flags, flavor: Option<Flavor>) -> Flags {
        let &Point { network, width, groups, resolution, .. } = self;
        Flags { net: Some(network), width: Some(width), groups, resolution: Some(resolution), flavor, ..flags.clone() }
    }
}

/// All points.
pub fn all() -> Result<Vec<Point>, Failure> {
    let lines = PUBLISHED.lines().filter(|line| !line.starts_with('#')).skip(1);
    let point = |line: &str| -> Result<Point, Failure> {
        let [network, flavor, width, groups, resolution, top1] = line.split(',').collect::<Vec<_>>()[..] else {
            return Err("expected network,flavor,width,groups,resolution,top1".into());
        };
        Ok(Point {
            network: network.parse()?,
            flavor: flavor.parse()?,
            width: width.parse()?,
            groups: if groups.is_empty() { None } else { Some(groups.parse()?) },
            resolution: resolution.parse()?,
            top1: top1.parse()?,
        })
    };
    lines.map(|line| point(line).map_err(|why| format!("published_top1.csv, {line:?}: {why}").into())).collect()
}

/// Those of `among` that --net, --flavor, --width, --groups and --resolution choose; an error where there are none.
pub fn chosen(flags: &Flags, among: impl Fn(&Point) -> bool) -> Result<Vec<Point>, Failure> {
    let points = all()?.into_iter().filter(among);
    let (chosen, others): (Vec<_>, Vec<_>) = points.partition(|point| point.is_chosen(flags));
    if chosen.is_empty() {
        let given = [
            flags.net.map(|net| format!("--net {net}")),
            flags.flavor.map(|flavor| format!("--flavor {flavor}")),
            flags.width.map(|width| format!("--width {width:?}")),
            flags.groups.map(|groups| format!("--groups {groups}")),
            flags.resolution.map(|resolution| format!("--resolution {resolution}")),
        ];
        let given: Vec<_> = given.into_iter().flatten().collect();
        let of_net = |point: &&Point| flags.net.is_none_or(|net| net == point.network);
        let near: Vec<&Point> = others.iter().filter(of_net).collect();
        let shown = if near.is_empty() { others.iter().collect() } else { near };
        let mut known: Vec<_> = shown
            .chunk_by(|a, b| (a.network, a.width, a.groups) == (b.network, b.width, b.groups))
            .map(|line| {
                let groups = line[0].groups.map_or_else(String::new, |groups| format!(" g{groups}"));
                let resolutions: Vec<_> = line.iter().map(|point| point.resolution.to_string()).collect();
                format!("{}{groups} {:?} at {}", line[0].network, line[0].width, resolutions.join(", "))
            })
            .collect();
        // Two flavors may have the same.
        known.sort();
        known.dedup();
        return Err(format!("{}: expected a published point: {}", given.join(" "), known.join("; ")).into());
    }
    Ok(chosen)
}
