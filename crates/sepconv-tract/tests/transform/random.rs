//! Random nets, of operators that sepconv has and of others.

use crate::model::{Float, Int, Ints, Net};

/// A tensor of the net, with its shape.
#[derive(Clone)]
struct Images {
    name: String,
    shape: [i64; 4],
}

/// A net that grows at random; every operator reads one of the last tensors.
struct Growing {
    net: Net,
    tensors: Vec<Images>,
}

impl Growing {
    fn one_of(&mut self, numbers: &[i64]) -> i64 {
        numbers[self.net.below(numbers.len())]
    }

    fn recent(&mut self) -> Images {
        let from = self.tensors.len().saturating_sub(3);
        let at = self.net.below(self.tensors.len() - from);
        self.tensors[from + at].clone()
    }

    fn push(&mut self, name: String, shape: [i64; 4]) {
        self.tensors.push(Images { name, shape });
    }

    /// A node with a window, in whose shape only rows, columns and channels differ.
    fn windowed(&mut self, op: &str, x: &Images, channels: i64, mut others: Vec<(&'static str, i64)>) {
        let [count, _, height, width] = x.shape;
        let (size, stride) = (self.one_of(&[1, 2, 3]), self.one_of(&[1, 1, 2]));
        let pad = if op == "Conv" { self.one_of(&[0, 1]) } else { self.one_of(&[0, size / 2]) };
        let group = others.iter().find(|other| other.0 == "group").map_or(1, |other| other.1);
        let ceil = others.contains(&("ceil_mode", 1));
        let output = |extent: i64| {
            let rest = extent + 2 * pad - size;
            let outputs = if ceil { (rest + stride - 1).div_euclid(stride) } else { rest.div_euclid(stride) } + 1;
            // The last window begins inside.
            if ceil && (outputs - 1) * stride >= extent + pad { outputs - 1 } else { outputs }
        };
        if output(height) < 1 || output(width) < 1 {
            return;
        }
        let (kernel, strides, pads) = ([size; 2], [stride; 2], [pad; 4]);
        let mut attributes = vec![("kernel_shape", Ints(&kernel)), ("strides", Ints(&strides)), ("pads", Ints(&pads))];
        attributes.extend(others.drain(..).map(|(name, value)| (name, Int(value))));
        let name = match op {
            "Conv" => self.net.conv_with(&x.name, [channels, x.shape[1] / group, size, size], &attributes),
            _ => self.net.node(op, &[&x.name], &attributes),
        };
        self.push(name, [count, channels, output(height), output(width)]);
    }

    fn grow(&mut self) {
        let x = self.recent();
        let [count, channels, height, width] = x.shape;
        match self.net.below(16) {
            0 | 1 => {
                let outputs = self.one_of(&[4, 6, 12]);
                self.windowed("Conv", &x, outputs, vec![]);
            }
            2 | 3 => self.windowed("Conv", &x, channels, vec![("group", channels)]),
            4 => {
                let group = if channels % 2 == 0 { self.one_of(&[1, 2]) } else { 1 };
                self.windowed("Conv", &x, channels, vec![("group", group)]);
            }
            5 => {
                let ceil = self.one_of(&[0, 1]);
                self.windowed("MaxPool", &x, channels, vec![("ceil_mode", ceil)]);
            }
            6 => {
                let (ceil, counts) = (self.one_of(&[0, 1]), self.one_of(&[0, 1]));
                self.windowed("AveragePool", &x, channels, vec![("ceil_mode", ceil), ("count_include_pad", counts)]);
            }
            7 => {
                let name = self.net.norm(&x.name, channels);
                self.push(name, x.shape);
            }
            8 => {
                let name = self.net.node("Relu", &[&x.name], &[]);
                self.push(name, x.shape);
            }
            9 => {
                let name = self.net.node("LeakyRelu", &[&x.name], &[("alpha", Float(0.25))]);
                self.push(name, x.shape);
            }
            10 => {
                let name = self.net.node("Sigmoid", &[&x.name], &[]);
                self.push(name, x.shape);
            }
            11 => {
                let same = self.tensors.iter().rev().find(|other| other.shape == x.shape && other.name != x.name);
                if let Some(other) = same.cloned() {
                    let name = self.net.node("Add", &[&x.name, &other.name], &[]);
                    self.push(name, x.shape);
                }
            }
            12 => {
                let like = |other: &&Images| (other.shape[0], &other.shape[2..]) == (count, &x.shape[2..]);
                let other = self.tensors.iter().rev().find(like).cloned().unwrap_or_else(|| x.clone());
                let name = self.net.node("Concat", &[&x.name, &other.name], &[("axis", Int(1))]);
                self.push(name, [count, channels + other.shape[1], height, width]);
            }
            13 => {
                let name = self.net.slice(&x.name, 1, channels / 2, channels);
                self.push(name, [count, channels - channels / 2, height, width]);
            }
            14 => {
                let groups = if channels % 2 == 0 { 2 } else { channels };
                let name = self.net.shuffle(&x.name, x.shape, groups);
                self.push(name, x.shape);
            }
            _ => {
                // There and back.
                let name = self.net.node("Transpose", &[&x.name], &[("perm", Ints(&[0, 2, 3, 1]))]);
                let name = self.net.node("LeakyRelu", &[&name], &[("alpha", Float(0.5))]);
                let name = self.net.node("Transpose", &[&name], &[("perm", Ints(&[0, 3, 1, 2]))]);
                self.push(name, x.shape);
            }
        }
    }
}

/// Nets.
const SEEDS: u32 = 300;

#[test]
fn random_nets_compute_what_tract_computes() {
    let (mut nodes, mut replaced) = (0, 0);
    for seed in 1..=SEEDS {
        let mut net = Net::seeded(seed);
        let shape = [1 + net.below(2) as i64, 4, 9 + net.below(4) as i64, 10];
        let name = net.input(&shape);
        let mut growing = Growing { net, tensors: vec![Images { name, shape }] };
        while growing.tensors.len() < 12 {
            growing.grow();
        }
        let Growing { net, tensors } = growing;
        // Shown where the net fails.
        println!("seed {seed}");
        let transformed = net.transformed(&[&tensors[tensors.len() - 1].name, &tensors[6].name]);
        nodes += transformed.nodes;
        replaced += transformed.subgraphs().iter().map(|subgraph| subgraph.nodes()).sum::<usize>();
    }
    // Sigmoids stay, and what stands between two of them and is no layer.
    assert!(replaced * 2 > nodes, "{replaced} of {nodes} nodes");
}
