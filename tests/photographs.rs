//! Trained weights on photographs, against the probabilities that their own frameworks give.
//!
//!     python tools/fetch_models.py models && SEPCONV_MODELS=models cargo test --release --test photographs
//!
//! Without `SEPCONV_MODELS` there is nothing to test, and each test says so.

use std::path::{Path, PathBuf};
use std::{env, fs};

use sepconv::Options;
use sepconv::models::{self, Activation, Architecture, Flavor, WeightFile};
use sepconv::ops::softmax;
use sepconv::parallel::Serial;
#[path = "../examples/common/preprocess/mod.rs"]
#[allow(dead_code)]
mod preprocess;

use preprocess::{Recipe, load};

/// What `tools/fetch_models.py` wrote, if it is here.
fn models() -> Option<PathBuf> {
    let folder = env::var_os("SEPCONV_MODELS").map(PathBuf::from);
    if folder.is_none() {
        println!("skipped: SEPCONV_MODELS names no folder of tools/fetch_models.py");
    }
    folder
}

/// Probabilities of each photograph, in one batch; the options must not change a bit of them.
fn probabilities(weights: &str, photos: &[PathBuf]) -> Option<Vec<Vec<f32>>> {
    let folder = models()?;
    let bytes = fs::read(folder.join(weights)).unwrap();
    let (network, file) = models::load(&bytes).unwrap();
    let recipe: Recipe = file.metadata("sepconv.preprocess").unwrap().parse().unwrap();
    let resolution = network.input().height as u32;
    let images: Vec<Vec<f32>> = photos
        .iter()
        .map(|photo| recipe.apply(&load(folder.join("photos").join(photo)).unwrap(), resolution).unwrap())
        .collect();
    let run = |input: &[f32], options: Options| {
        let plan = network.plan(&*file, &Serial, options).unwrap();
        let mut logits = vec![0.0; plan.output_len()];
        plan.run(&Serial, &mut plan.workspace().unwrap(), input, &mut logits).unwrap();
        logits
    };
    let together = run(&images.concat(), Options { batch: images.len(), ..Options::default() });
    let one_by_one: Vec<f32> =
        images.iter().flat_map(|image| run(image, Options { low_memory: true, ..Options::default() })).collect();
    assert!(together.iter().zip(&one_by_one).all(|(a, b)| a.to_bits() == b.to_bits()), "{weights}: batch, low_memory");
    let classes = network.classes();
    Some(
        together
            .chunks(classes)
            .map(|logits| {
                let mut p = logits.to_vec();
                softmax(&mut p);
                p
            })
            .collect(),
    )
}

#[test]
fn free_photographs_have_torchvisions_probabilities() {
    let photos = ["chelsea.png", "coffee.png"].map(PathBuf::from);
    let Some(p) = probabilities("mobilenet_v2.safetensors", &photos) else { return };
    // torchvision 0.29 on chelsea: Egyptian cat, tiger cat, tabby; on coffee: espresso.
    for (photo, class, want) in [(0, 285, 0.7166), (0, 282, 0.1471), (0, 281, 0.1295), (1, 967, 0.992)] {
        let got = p[photo][class];
        assert!((got - want).abs() <= 0.002, "{}, class {class}: {got}, expected {want}", photos[photo].display());
    }
}

#[test]
fn photographs_have_the_probabilities_of_pillow_and_numpy() {
    // Written by tools/photograph_table.py: photograph, class, probability, for all above 0.01.
    let table: Vec<(&str, usize, f32)> = include_str!("data/photographs.csv")
        .lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split(',').collect();
            (fields[0], fields[1].parse().unwrap(), fields[2].parse().unwrap())
        })
        .collect();
    let mut photos: Vec<PathBuf> = table.iter().map(|row| PathBuf::from(row.0)).collect();
    photos.dedup();
    assert_eq!(photos.len(), 24);
    let Some(p) = probabilities("mobilenet_v2.safetensors", &photos) else { return };
    for (photo, p) in photos.iter().zip(&p) {
        for (class, got) in p.iter().enumerate() {
            let row = table.iter().find(|row| Path::new(row.0) == photo && row.1 == class);
            // A class that the table leaves out has at most 0.01.
            let (low, high) = row.map_or((0.0, 0.01), |row| (row.2, row.2));
            assert!(
                (low - 0.001..=high + 0.001).contains(got),
                "{}, class {class}: {got}, not {high}",
                photo.display()
            );
        }
    }
}

#[test]
fn labelled_photographs_are_recognised() {
    // As torchvision has them, and numpy: how many have their own class first, and among the first five.
    for (weights, first, five) in [("mobilenet_v2.safetensors", 18, 20), ("squeezenet_1_1.safetensors", 12, 19)] {
        let Some(ranks) = ranks(weights) else { return };
        let below = |limit| ranks.iter().filter(|&&rank| rank < limit).count();
        assert_eq!((below(1), below(5)), (first, five), "{weights}: {ranks:?}");
    }
}

/// How many classes are more probable than its own, of each of ImageNet's photographs.
fn ranks(weights: &str) -> Option<Vec<usize>> {
    let folder = models()?;
    let entries = fs::read_dir(folder.join("photos")).unwrap().map(|entry| PathBuf::from(entry.unwrap().file_name()));
    let mut photos: Vec<PathBuf> = entries.filter(|photo| photo.to_string_lossy().starts_with("imagenet_")).collect();
    photos.sort();
    assert_eq!(photos.len(), 20);
    let p = probabilities(weights, &photos)?;
    // The class is the number at the end of the name.
    let rank = |(p, photo): (&Vec<f32>, &PathBuf)| {
        let stem = photo.file_stem().unwrap().to_string_lossy();
        let label: usize = stem.rsplit('_').next().unwrap().parse().unwrap();
        p.iter().filter(|&&other| other > p[label]).count()
    };
    Some(p.iter().zip(&photos).map(rank).collect())
}

#[test]
fn persons_are_found() {
    let photos = ["astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg"].map(PathBuf::from);
    let Some(p) = probabilities("person.safetensors", &photos) else { return };
    for ((photo, p), want) in photos.iter().zip(&p).zip([0.9218, 0.0764, 0.0095, 0.1480]) {
        assert!((p[0] - want).abs() <= 0.002, "{}: person {}, expected {want}", photo.display(), p[0]);
    }
}

#[test]
fn the_files_say_what_they_are() {
    let Some(folder) = models() else { return };
    let config = |file: &str| {
        let bytes = fs::read(folder.join(file)).unwrap();
        let file = WeightFile::new(&bytes).unwrap();
        let name = file.architecture().unwrap();
        (name, file.config(name).unwrap())
    };
    let (name, imagenet) = config("mobilenet_v2.safetensors");
    assert_eq!((name, imagenet.width, imagenet.resolution), (Architecture::MobilenetV2, 1.0, 224));
    let (name, person) = config("person.safetensors");
    assert_eq!((name, person.width, person.resolution, person.classes), (Architecture::MobilenetV1, 0.25, 96, Some(2)));
    assert_eq!((imagenet.flavor, person.flavor), (Flavor::Torch, Flavor::Keras));
    let (name, squeezenet) = config("squeezenet_1_1.safetensors");
    assert_eq!((name, squeezenet.resolution, squeezenet.flavor), (Architecture::Squeezenet1_1, 227, Flavor::Caffe));
    assert_eq!(squeezenet.activation, Some(Activation::Linear));
}
