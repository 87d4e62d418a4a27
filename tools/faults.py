"""The faults of plant_faults.py: area, file, what stands there once, and what takes its place."""

CONV, GEMM, HEAD, DEPTHWISE, STEM = (
    "kernels/conv.jinja", "kernels/gemm.jinja", "kernels/gemm.h", "kernels/depthwise.c.jinja", "kernels/stem.c.jinja",
)
AVX2 = "kernels/isa/avx2.h"
COPIED, PACK, MEMORY, COMPILE, CALLS = (
    "src/ops/depthwise/copied.rs", "src/ops/pack.rs", "src/plan/memory.rs", "src/plan/compile.rs", "src/plan/calls.rs",
)
LOWER, SCHEDULE, FOLD, CREW = "src/plan/lower.rs", "src/plan/schedule.rs", "src/weights/fold.rs", "src/parallel/crew.rs"
# Of the function that computes one pixel.
PIXEL_ROW = """    vec acc = vec_load(w);
    for (ptrdiff_t ky = 0; ky < HEIGHT; ++ky) {
        const ptrdiff_t row = top + ky * DILATION;
        """

FAULTS = [
    # Templates.
    ("templates", CONV, "end < 0 ? 0 : (size_t)end < taps", "end < 0 ? 0 : (size_t)end <= taps + 1"),
    ("templates", CONV, ".first = start < 0 ? (size_t)-start : 0,", ".first = start < 0 ? (size_t)-start - 1 : 0,"),
    ("templates", CONV, "(size_t)(end - (ptrdiff_t)taps) / stride + 1;", "(size_t)(end - (ptrdiff_t)taps) / stride + 2;"),
    ("templates", CONV, "const int touching = p->input.pixel_stride == (ptrdiff_t)p->channels;", "const int touching = 1;"),
    ("templates", CONV, ".left = columns.first,", ".left = 0,"),
    ("templates", CONV, ".c_pixel = down ? p->output.row_stride : p->output.pixel_stride,", ".c_pixel = p->output.pixel_stride,"),
    ("templates", CONV, ".residual_pixel = down ? p->residual.row_stride : p->residual.pixel_stride,",
     ".residual_pixel = down ? p->output.row_stride : p->output.pixel_stride,"),
    ("templates", CONV, "((ptrdiff_t)columns.first - (ptrdiff_t)p->pad_left) * p->input.pixel_stride",
     "((ptrdiff_t)columns.first) * p->input.pixel_stride"),
    ("templates", CONV, "b += p->b_panel)", "b += p->b_panel + 1)"),
    ("templates", CONV, "width->micro[tiles.mr + 1](p, panel, &windows, &cursor, tiles.larger);", "width->micro[tiles.mr](p, panel, &windows, &cursor, tiles.larger);"),
    ("templates", GEMM, "vec_store_first(c + {{ r }} * c_pixel + {{ vectors - 1 }} * LANES, acc{{ r }}_{{ vectors - 1 }}, tail);",
     "vec_store(c + {{ r }} * c_pixel + {{ vectors - 1 }} * LANES, acc{{ r }}_{{ vectors - 1 }});"),
    ("templates", GEMM, "for (; left > 0; --left) {", "for (; left > 1; --left) {"),
    ("templates", GEMM, "vec_load(bias + {{ v }} * LANES);", "vec_load(bias);"),
    ("templates", HEAD, ".tail = columns >= vectors * LANES ? LANES : columns - (vectors - 1) * LANES,", ".tail = LANES,"),
    ("templates", HEAD, ".bias = bias ? bias + column : 0,", ".bias = bias,"),
    ("templates", HEAD, ".others = count - pixels % count", ".others = count - pixels % count - (count > 2)"),
    ("templates", DEPTHWISE, PIXEL_ROW + "if (row < 0 || row >= (ptrdiff_t)p->height)", PIXEL_ROW + "if (row < 0)"),
    ("templates", DEPTHWISE, PIXEL_ROW + "if (row < 0 ||", PIXEL_ROW + "if (row < 1 ||"),
    ("templates", DEPTHWISE, "vec_load(w + (1 + ky * WIDTH + kx) * LANES)", "vec_load(w + (1 + kx * WIDTH + ky) * LANES)"),
    ("templates", DEPTHWISE, "vec_load(w + {{ 1 + ky * width + kx }} * LANES)", "vec_load(w + {{ ky * width + kx }} * LANES)"),
    ("templates", DEPTHWISE, "{{ o }} * residual_row + {{ q }} * residual_pixel", "{{ o }} * residual_row"),
    ("templates", STEM, "panel->b + (ky * 3 + windows->left) * 3 *", "panel->b + (ky * 3) * 3 *"),
    # Vocabularies.
    ("vocabularies", AVX2, "return _mm256_max_ps(lo, x);", "return _mm256_max_ps(x, lo);"),
    ("vocabularies", AVX2, "return _mm256_min_ps(hi, vec_clamp_lo(x, lo));", "return _mm256_min_ps(vec_clamp_lo(x, lo), hi);"),
    ("vocabularies", AVX2, "return _mm256_add_ps(a, b);", "return _mm256_sub_ps(a, b);"),
    ("vocabularies", AVX2, "ones_then_zeros + LANES - n", "ones_then_zeros + LANES - n + (n == 7)"),
    ("vocabularies", AVX2, "return _mm256_maskload_ps(p, first_lanes(n));", "return _mm256_loadu_ps(p);"),
    ("vocabularies", AVX2, "_mm256_maskstore_ps(p, first_lanes(n), v);", "_mm256_storeu_ps(p, v);"),
    ("vocabularies", AVX2, '__asm__("vfmadd231ps %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));',
     "acc = _mm256_add_ps(acc, _mm256_mul_ps(a, b));"),
    # Packing.
    ("packing", PACK, "let padded = n.next_multiple_of(lanes);", "let padded = n.next_multiple_of(nr);"),
    ("packing", PACK, "let stride = depth.saturating_mul(nr);", "let stride = depth.saturating_mul(lanes);"),
    ("packing", PACK, "row(index) * width;", "row(index) * nr;"),
    ("packing", PACK, "&weights[outputs.start * depth..outputs.end * depth]", "&weights[..n * depth]"),
    ("packing", PACK, "bias[outputs.clone()]", "bias[..n]"),
    ("packing", PACK, "transpose((columns, depth),", "transpose((columns - 1, depth),"),
    ("packing", PACK, "(index * lanes).min(channels.saturating_sub(lanes))", "index * lanes"),
    ("packing", PACK, "false => (together - 1) * lanes,", "false => channels - lanes,"),
    ("packing", PACK, "block[lane] = bias[first + lane];", "block[lane] = bias[lane];"),
    ("packing", PACK, "weights[(first + lane) * taps + tap];", "weights[(first + lane) * taps + taps - 1 - tap];"),
    # Memory layout.
    ("memory", MEMORY, "last_read[item.output.tensor] = Some(index);", ""),
    ("memory", MEMORY, "live.retain(|other| other.until >= index);", "live.retain(|other| other.until > index);"),
    ("memory", MEMORY, "live.sort_by_key(|other| other.offset);", ""),
    ("memory", MEMORY, "if offset + length <= other.offset {", "if offset < other.offset {"),
    ("memory", MEMORY, "offset = other.offset + other.length;", "offset += other.length;"),
    ("memory", MEMORY, "true => last_read[tensor] = Some(items.len()),", "true => {}"),
    ("memory", MEMORY, "let place = reserve(&mut live, part.copies, part.shape, index, index)?;",
     "let place = reserve(&mut live, 1, part.shape, index, index)?;"),
    ("memory", MEMORY, "workspace = workspace.max(offset + length);", "workspace = workspace.max(offset);"),
    # Compile.
    ("compile", COMPILE, "residual: residual.filter(|_| at + 1 == count),", "residual: residual.filter(|_| at == 0),"),
    ("compile", COMPILE, "if slice.end != expanded {", "if slice.start != 0 {"),
    ("compile", COMPILE, "Part::Channels(part.start + start..part.end + start)", "Part::Channels(part.start..part.end)"),
    ("compile", COMPILE, "from: channels.start, to,", "from: 0, to,"),
    ("compile", COMPILE, "sources.push((to, index));", "sources.push((to, usize::MAX));"),
    ("compile", COMPILE, "copies: self.batch,", "copies: 1,"),
    ("compile", CALLS, "let skip = target.first.saturating_sub(held.start);", "let skip = target.first - held.start + 1;"),
    ("compile", CALLS, "(target, held.end.max(rows.start)..rows.end)", "(target, held.end..rows.end)"),
    ("compile", CALLS, "source.address(strip.first, pixels.start, 0,", "source.address(source.first, pixels.start, 0,"),
    ("compile", CALLS, "missing: strip.missing,", "missing: 0,"),
    ("compile", CALLS, "let skipped = outputs.start - operation.outputs.start;", "let skipped = 0;"),
    ("compile", CALLS, "let residual_joins = operation.residual.is_none_or(|residual| residual.in_workspace());", "let residual_joins = true;"),
    ("compile", COPIED, "self.run_kernel(&part, wide.missing)", "self.run_kernel(&part, across.padding.top)"),
    ("compile", COPIED, "missing: held.missing,", "missing: call.missing,"),
    ("compile", COPIED, "outputs: first + channels.start..first + channels.end,", "outputs: first..first + channels.len(),"),
    # Folding: nodes into items, and normalisation into weights.
    ("folding", LOWER, "self.traits(stage).adds && stage.clamp == Clamp::NONE && item.residual.is_none()", "self.traits(stage).adds && item.residual.is_none()"),
    ("folding", LOWER, "if !self.is_whole(input) || self.readers(input.tensor) != 1 {", "if !self.is_whole(input) {"),
    ("folding", LOWER, "if hi != f32::INFINITY || readers.is_empty() || !all || self.outputs.contains(&output) {", "if readers.is_empty() || !all || self.outputs.contains(&output) {"),
    ("folding", LOWER, "(operand.tensor, operand.first) = (home, operand.first + first);", "(operand.tensor, operand.first) = (home, first);"),
    ("folding", SCHEDULE, "let unit = if pooled { 1 } else { 2 };", "let unit = 0;"),
    ("folding", SCHEDULE, ".min(pair[0].output().height);", ";"),
    ("folding", FOLD, "beta + (bias - mean) * scale", "beta + (bias + mean) * scale"),
    ("folding", FOLD, "(f64::from(weight) * scale) as f32", "weight * scale as f32"),
    ("folding", FOLD, "subnormal.map(|product| *product = 0.0).count()", "subnormal.count()"),
    ("folding", FOLD, "order[first + place] - first", "order[place]"),
    ("folding", FOLD, "weights[order[at / taps] * taps + at % taps]", "weights[at]"),
    # Crew.
    ("crew", CREW, "patiently(|_| self.finished.load(Ordering::Acquire) == tasks);", ""),
    ("crew", CREW, "self.finished.store(0, Ordering::Relaxed);", ""),
    ("crew", CREW, "if let Some(panic) = panic {", "if let Some(panic) = panic.filter(|_| false) {"),
    ("crew", CREW, " && !self.leading.swap(true, Ordering::Relaxed)", ""),
    ("crew", CREW, "halve(middle..tasks.end", "halve(middle + 1..tasks.end"),
]
