//! How the axes of a tract tensor lie on the dimensions of images.

use sepconv::Shape;
use tract_core::internal::{AxisOp, DimLike};
use tract_core::ops::nn::DataFormat;

/// A dimension of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dimension {
    Batch,
    Height,
    Width,
    Channel,
}

use Dimension::{Batch, Channel, Height, Width};

/// So many steps along a dimension. Where an axis of a tensor is a part of a dimension, the others are further factors:
/// the first in the tensor is the one of the longest steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Factor {
    pub dimension: Dimension,
    pub size: usize,
}

/// The factors of each axis of a tensor, those of one step left out: a reshape or a transposition of a tensor is another
/// `Axes` of the same images. The factors of a dimension stand in the order of their steps, long ones first, and no axis
/// has two of one dimension side by side.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Axes(Vec<Vec<Factor>>);

/// How the elements of a tensor lie in memory, as images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Pixel by pixel, NHWC.
    Pixels,
    /// Plane by plane, NCHW.
    Planes,
}

/// A tensor after a reshape or a transposition: its axes, and the groups of the channel shuffle that its images undergo.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    pub axes: Axes,
    pub shuffle: Option<usize>,
}

impl Axes {
    /// Of `count` images of `shape` in a tensor of `format` with `spatial` axes of pixels: one (the width) or two.
    pub fn of(format: DataFormat, count: usize, shape: Shape, spatial: usize) -> Axes {
        let pixels = [(Height, shape.height), (Width, shape.width)];
        let mut axes = vec![(Batch, count); usize::from(format.has_n())];
        let channels = (Channel, shape.channels);
        axes.extend((!format.c_is_last()).then_some(channels));
        axes.extend(&pixels[2 - spatial..]);
        axes.extend(format.c_is_last().then_some(channels));
        Axes::of_whole(&axes)
    }

    /// Each axis a whole dimension of this size.
    pub fn of_whole(dimensions: &[(Dimension, usize)]) -> Axes {
        let axis = |&(dimension, size): &(Dimension, usize)| Vec::from_iter(factor(dimension, size));
        Axes(dimensions.iter().map(axis).collect())
    }

    /// The size of each axis.
    pub fn sizes(&self) -> Vec<usize> {
        self.0.iter().map(|factors| product(factors)).collect()
    }

    /// The dimension that `axis` is the whole of, where the tensor has it nowhere else.
    pub fn whole(&self, axis: usize) -> Option<Dimension> {
        let [factor] = self.0[axis][..] else { return None };
        let parts = self.0.iter().flatten().filter(|other| other.dimension == factor.dimension).count();
        (parts == 1).then_some(factor.dimension)
    }

    /// The factors of `axes`, one axis after the other.
    pub fn factors(&self, axes: &[usize]) -> Vec<Factor> {
        joined(axes.iter().flat_map(|&axis| self.0[axis].iter().copied()))
    }

    /// Whether `axes` hold all that the tensor has of `dimensions`, and nothing else.
    pub fn are_all_of(&self, axes: &[usize], dimensions: &[Dimension]) -> bool {
        let mut all = self.0.iter().enumerate();
        all.all(|(axis, factors)| factors.iter().all(|f| dimensions.contains(&f.dimension) == axes.contains(&axis)))
    }

    /// How the channels lie along `axis`, which holds nothing else: so many times, so many steps, of so many neighbouring
    /// channels each. An axis of one step is one of channels too.
    pub fn channels_along(&self, axis: usize) -> Option<(usize, usize, usize)> {
        let [before, own, after] = [&self.0[..axis], &self.0[axis..=axis], &self.0[axis + 1..]].map(|axes| {
            let channels = axes.iter().flatten().filter(|factor| factor.dimension == Channel);
            channels.map(|factor| factor.size).product()
        });
        (own == product(&self.0[axis])).then_some((before, own, after))
    }

    /// The same tensor with `size` steps of `dimension` along `axis`, and nothing else.
    pub fn with(mut self, axis: usize, dimension: Dimension, size: usize) -> Axes {
        self.0[axis] = Vec::from_iter(factor(dimension, size));
        self
    }

    /// The same tensor, each axis that holds a `dimension` of one step only.
    pub fn without(mut self, dimension: Dimension) -> Axes {
        self.0.iter_mut().for_each(|factors| factors.retain(|f| f.dimension != dimension));
        self
    }

    /// The tensor of these axes of it, and of new ones; `None` where parts of a dimension change places.
    pub fn select(&self, axes: impl IntoIterator<Item = Result<usize, Option<Factor>>>) -> Option<Axes> {
        let mut last = [None; 4];
        let mut selected = Vec::new();
        for axis in axes {
            let factors = match &axis {
                Ok(axis) => &self.0[*axis][..],
                Err(factor) => factor.as_slice(),
            };
            if let Ok(axis) = axis {
                for factor in factors {
                    let last = &mut last[factor.dimension as usize];
                    if *last > Some(axis) {
                        return None;
                    }
                    *last = Some(axis);
                }
            }
            selected.push(factors.to_vec());
        }
        Some(Axes(selected))
    }

    /// How the elements lie in memory; `None` where that is neither.
    pub fn form(&self) -> Option<Form> {
        let all = joined(self.0.iter().flatten().copied());
        let is = |order: [Dimension; 4]| {
            // Factors of one step stand nowhere.
            let mut places = all.iter().map(|f| order.iter().position(|&dimension| dimension == f.dimension));
            places.try_fold(None, |last, place| (place > last).then_some(place)).is_some()
        };
        match is([Batch, Height, Width, Channel]) {
            true => Some(Form::Pixels),
            false => is([Batch, Channel, Height, Width]).then_some(Form::Planes),
        }
    }

    /// The tensor after `op`; `None` where that is no tensor of images any more.
    pub fn changed(&self, op: &AxisOp) -> Option<Changed> {
        let mut axes = self.0.clone();
        match op {
            AxisOp::Add(at) => axes.insert(*at, Vec::new()),
            AxisOp::Rm(at) => {
                if !axes.remove(*at).is_empty() {
                    return None;
                }
            }
            AxisOp::Move(from, to) => return self.moved(*from, *to),
            AxisOp::Reshape(at, from, to) => {
                let factors = joined(axes.drain(*at..*at + from.len()).flatten());
                let sizes = to.iter().map(|size| size.to_usize().ok()).collect::<Option<Vec<_>>>()?;
                let split = split(factors, &sizes)?;
                axes.splice(*at..*at, split);
            }
        }
        Some(Changed { axes: Axes(axes), shuffle: None })
    }

    fn moved(&self, from: usize, to: usize) -> Option<Changed> {
        // Every factor with its place among those of its dimension.
        let mut counts = [0; 4];
        let mut tagged: Vec<Vec<(Factor, usize)>> = Vec::new();
        for factors in &self.0 {
            let tag = |&factor: &Factor| {
                let count = &mut counts[factor.dimension as usize];
                *count += 1;
                (factor, *count - 1)
            };
            tagged.push(factors.iter().map(tag).collect());
        }
        let axis = tagged.remove(from);
        tagged.insert(to, axis);
        let mut shuffle = None;
        for dimension in [Batch, Height, Width, Channel] {
            let of: Vec<_> = tagged.iter().flatten().filter(|(factor, _)| factor.dimension == dimension).collect();
            let Some(first) = of.first().map(|&&(_, place)| place).filter(|&first| first > 0) else {
                if of.iter().enumerate().any(|(at, &&(_, place))| at != place) {
                    return None;
                }
                continue;
            };
            // Only channels can be shuffled, and only in two parts that change places.
            let rotated = of.iter().enumerate().all(|(at, &&(_, place))| place == (at + first) % of.len());
            if dimension != Channel || !rotated {
                return None;
            }
            let major = of.iter().filter(|&&&(_, place)| place < first).map(|(factor, _)| factor.size);
            shuffle = Some(major.product());
        }
        let axes = tagged.into_iter().map(|factors| joined(factors.into_iter().map(|(factor, _)| factor))).collect();
        Some(Changed { axes: Axes(axes), shuffle })
    }
}

/// The factor of `size` steps; none for a single one.
fn factor(dimension: Dimension, size: usize) -> Option<Factor> {
    (size != 1).then_some(Factor { dimension, size })
}

fn product(factors: &[Factor]) -> usize {
    factors.iter().map(|factor| factor.size).product()
}

/// The factors with neighbours of one dimension as one.
fn joined(factors: impl Iterator<Item = Factor>) -> Vec<Factor> {
    let mut joined: Vec<Factor> = Vec::new();
    for factor in factors {
        match joined.last_mut() {
            Some(last) if last.dimension == factor.dimension => last.size *= factor.size,
            _ => joined.push(factor),
        }
    }
    joined
}

/// The factors on axes of these sizes; `None` where a size cuts across them.
fn split(factors: Vec<Factor>, sizes: &[usize]) -> Option<Vec<Vec<Factor>>> {
    let mut rest = factors.into_iter().rev().collect::<Vec<_>>();
    let mut axes = Vec::with_capacity(sizes.len());
    for &size in sizes {
        let (mut axis, mut missing) = (Vec::new(), size);
        while missing > 1 {
            let next = rest.pop()?;
            if missing.is_multiple_of(next.size) {
                missing /= next.size;
                axis.push(next);
            } else if next.size.is_multiple_of(missing) {
                rest.push(Factor { size: next.size / missing, ..next });
                axis.push(Factor { size: missing, ..next });
                missing = 1;
            } else {
                return None;
            }
        }
        axes.push(axis);
    }
    rest.is_empty().then_some(axes)
}

#[cfg(test)]
mod tests {
    use tract_core::internal::{TDim, TVec};

    use super::*;

    fn planes(channels: usize, height: usize, width: usize) -> Axes {
        Axes::of(DataFormat::NCHW, 1, Shape::new(height, width, channels), 2)
    }

    fn reshape(at: usize, from: &[usize], to: &[usize]) -> AxisOp {
        let sizes = |sizes: &[usize]| sizes.iter().map(|&size| TDim::from(size)).collect::<TVec<_>>();
        AxisOp::Reshape(at, sizes(from), sizes(to))
    }

    /// The axes after all of `ops`, and the shuffles on the way.
    fn after(axes: Axes, ops: &[AxisOp]) -> Option<(Axes, Vec<usize>)> {
        let mut shuffles = Vec::new();
        let axes = ops.iter().try_fold(axes, |axes, op| {
            let changed = axes.changed(op)?;
            shuffles.extend(changed.shuffle);
            Some(changed.axes)
        })?;
        Some((axes, shuffles))
    }

    #[test]
    fn a_shuffle_is_two_reshapes_around_a_transposition() {
        let ops = [reshape(1, &[6], &[2, 3]), AxisOp::Move(1, 2), reshape(1, &[3, 2], &[6])];
        assert_eq!(after(planes(6, 4, 5), &ops), Some((planes(6, 4, 5), vec![2])));
        // One that moves rows among channels is none.
        let ops = [reshape(1, &[6], &[2, 3]), AxisOp::Move(1, 3), reshape(1, &[3, 4], &[12])];
        let (mixed, shuffles) = after(planes(6, 4, 5), &ops).unwrap();
        assert_eq!((mixed.form(), &shuffles[..]), (None, &[2][..]));
    }

    #[test]
    fn three_parts_of_the_channels_may_not_change_all_their_places() {
        let apart = after(planes(24, 4, 5), &[reshape(1, &[24], &[2, 3, 4])]).unwrap().0;
        assert_eq!(apart.changed(&AxisOp::Move(1, 3)).unwrap().shuffle, Some(2));
        assert_eq!(apart.changed(&AxisOp::Move(3, 1)).unwrap().shuffle, Some(6));
        assert_eq!(apart.changed(&AxisOp::Move(1, 2)), None);
    }

    #[test]
    fn elements_lie_by_pixels_or_by_planes() {
        let form = |axes: &Axes| axes.form();
        let image = planes(6, 4, 5);
        assert_eq!(form(&image), Some(Form::Planes));
        assert_eq!(form(&image.changed(&AxisOp::Move(1, 3)).unwrap().axes), Some(Form::Pixels));
        assert_eq!(form(&image.changed(&AxisOp::Move(2, 3)).unwrap().axes), None);
        assert_eq!(form(&planes(6, 1, 1)), Some(Form::Pixels));
        assert_eq!(form(&after(image, &[reshape(1, &[6, 4, 5], &[120])]).unwrap().0), Some(Form::Planes));
    }

    #[test]
    fn axes_of_one_step_come_and_go() {
        let image = planes(6, 1, 1);
        let (flat, _) = after(image.clone(), &[AxisOp::Rm(3), AxisOp::Rm(2)]).unwrap();
        assert_eq!(flat, Axes::of_whole(&[(Batch, 1), (Channel, 6)]));
        assert_eq!(after(flat, &[AxisOp::Add(2), AxisOp::Add(2)]), Some((image.clone(), vec![])));
        assert_eq!(image.changed(&AxisOp::Rm(1)), None);
    }

    #[test]
    fn channels_lie_along_axes_that_hold_nothing_else() {
        let image = planes(6, 4, 5);
        assert_eq!([0, 1, 2].map(|axis| image.channels_along(axis)), [Some((1, 1, 6)), Some((1, 6, 1)), None]);
        let (parts, _) = after(image, &[reshape(1, &[6], &[2, 3])]).unwrap();
        assert_eq!([1, 2].map(|axis| parts.channels_along(axis)), [Some((1, 2, 3)), Some((2, 3, 1))]);
    }

    #[test]
    fn parts_of_a_dimension_keep_their_order() {
        let (parts, _) = after(planes(6, 4, 5), &[reshape(1, &[6], &[2, 3])]).unwrap();
        let select = |axes: [usize; 3]| parts.select(axes.map(Ok).into_iter().chain([Err(None)]));
        assert_eq!(select([1, 2, 4]).unwrap().sizes(), [2, 3, 5, 1]);
        assert_eq!(select([4, 1, 2]).unwrap().sizes(), [5, 2, 3, 1]);
        assert_eq!(select([2, 1, 4]), None);
    }

    #[test]
    fn sizes_that_cut_across_dimensions_are_refused() {
        assert_eq!(planes(6, 4, 5).changed(&reshape(1, &[6, 4], &[4, 6])), None);
        let (halved, _) = after(planes(6, 4, 5), &[reshape(1, &[6, 4], &[12, 2])]).unwrap();
        assert_eq!(halved.sizes(), [1, 12, 2, 5]);
    }
}
