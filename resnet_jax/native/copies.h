// What a convolution reads, copied in the order in which it is read.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "geometry.h"
#include "vectors.h"

// What a convolution reads: plain + offset + factor * scaled, or what of it there is; then a ReLU,
// which passes a NaN. `plain` and `scaled` are maps, the others [N, C], C then whole vectors.
template <typename T>
struct Input {
  const T *plain, *scaled, *factor, *offset;
  bool relu;

  // `count` channels from c on of image n, at so many positions from `at` on: [positions, count].
  void read(int64_t n, int64_t at, int64_t positions, int64_t channels, int64_t c, int64_t count,
            T* to) const {
    if (!scaled && count == channels)
      std::memcpy(to, plain + at * channels, positions * count * sizeof(T));
    else if (!scaled)
      apply<true, false, false>(n, at, positions, channels, c, count, to);
    else if (plain)
      apply<true, true, false>(n, at, positions, channels, c, count, to);
    else if (relu)
      apply<false, true, true>(n, at, positions, channels, c, count, to);
    else
      apply<false, true, false>(n, at, positions, channels, c, count, to);
  }

  template <bool kPlain, bool kScaled, bool kRelu>
  void apply(int64_t n, int64_t at, int64_t positions, int64_t channels, int64_t c, int64_t count,
             T* to) const {
    using L = Lanes<T>;
    for (int64_t v = 0; v < count; v += L::count) {
      typename L::Vector by = {}, plus = {};
      if (kScaled)
        by = L::load(factor + n * channels + c + v), plus = L::load(offset + n * channels + c + v);
      for (int64_t p = 0, i = at * channels + c + v; p < positions; ++p, i += channels) {
        typename L::Vector value = {};
        if (kPlain) value = L::load(plain + i);
        if (kScaled) value += plus + by * L::load(scaled + i);
        if (kRelu) value = value < T(0) ? typename L::Vector{} : value;
        L::store(to + p * count + v, value);
      }
    }
  }
};

template <typename T>
T* copy(const Shape& shape, const Layout& layout, const Input<T>& input, const Piece& piece) {
  T* values = scratch<T, 0>(layout.image * piece.images);
  const int64_t width = layout.width, position = layout.position;
  for (int64_t n = 0; n < piece.images; ++n)
    for (int64_t i = 0; i < shape.height(piece.rows); ++i) {
      const int64_t row = piece.row * shape.rows.stride + shape.low[0] + i;
      const bool inside = row >= 0 && row < shape.rows.size;
      // The columns before, in and behind the image.
      const int64_t from = inside ? std::min(width, std::max<int64_t>(0, -shape.low[1])) : width;
      const int64_t end =
          inside ? std::max(from, std::min(width, shape.columns.size - shape.low[1])) : width;
      const int64_t at =
          ((piece.n + n) * shape.rows.size + row) * shape.columns.size + shape.low[1] + from;
      for (int64_t b = 0; b < shape.blocks(); ++b) {
        T* to = values + n * layout.image + b * layout.block + i * layout.row;
        std::fill(to, to + from * position, T(0));
        std::fill(to + end * position, to + layout.row, T(0));
        if (end > from)
          input.read(piece.n + n, at, end - from, shape.channels, b * position, position,
                     to + from * position);
      }
    }
  return values;
}

// Blocks of outputs, two vectors each, the last perhaps one.
template <typename T>
struct Outputs {
  static constexpr int64_t wide = 2 * Lanes<T>::count;
  int64_t count, blocks, splits;

  // So many parts that there are some tasks for each thread.
  Outputs(int64_t count, int64_t tasks, int64_t threads)
      : count(count),
        blocks((count + wide - 1) / wide),
        splits(std::min(blocks, std::max<int64_t>(1, 2 * threads / tasks))) {}
  int64_t begin(int64_t split) const { return std::min(count, blocks * split / splits * wide); }
  bool two(int64_t o) const { return count - o >= wide; }
};

// A kernel [taps, C, O], or [taps, O, C] if turned, as panels: for each block of outputs and class,
// a row of its outputs for each weight.
template <typename Pool, typename T>
std::unique_ptr<T[]> packed(Pool& pool, const Shape& shape, const T* kernel, bool turned,
                            const std::vector<Table>& classes, const Outputs<T>& outputs) {
  const int64_t a_tap = shape.channels * shape.outputs, size = shape.taps() * a_tap;
  std::unique_ptr<T[]> panels(new T[size]);
  const auto pack = [&](int64_t block) {
    const int64_t o = block * outputs.wide, width = std::min(outputs.wide, shape.outputs - o);
    T* to = &panels[o * shape.taps() * shape.channels];
    for (const Table& weights : classes)
      for (const int64_t at : weights.to) {
        const T* from =
            kernel + (turned ? at / a_tap * a_tap + at % a_tap / shape.outputs + o * shape.channels
                             : at + o);
        for (int64_t q = 0; q < width; ++q) *to++ = from[turned ? q * shape.channels : q];
      }
  };
  if (size > kChunk * kChunk)
    parallel(pool, outputs.blocks, pack);
  else
    for (int64_t block = 0; block < outputs.blocks; ++block) pack(block);
  return panels;
}

// The gradients [P, Q, O] of a piece's outputs from o on, as [blocks][images][rows][columns][wide].
template <typename T>
T* copy_gradients(const Shape& shape, const Input<T>& input, const Piece& piece, int64_t from,
                  int64_t end, int64_t wide) {
  const int64_t columns = shape.columns.out, positions = piece.images * piece.rows * columns;
  T* copy = scratch<T, 1>(positions * (end - from));
  for (int64_t n = 0; n < piece.images; ++n) {
    const int64_t at = ((piece.n + n) * shape.rows.out + piece.row) * columns;
    for (int64_t o = from; o < end; o += wide) {
      const int64_t count = std::min(wide, end - o);
      T* to = copy + (o - from) * positions + n * piece.rows * columns * count;
      input.read(piece.n + n, at, piece.rows * columns, shape.outputs, o, count, to);
    }
  }
  return copy;
}
