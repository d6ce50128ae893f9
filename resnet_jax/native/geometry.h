// Which values a convolution takes for which results, and the pieces in which it is computed.

#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "vectors.h"

constexpr int64_t kBlock = 16;   // channels that lie together in a copy
constexpr int64_t kChunk = 288;  // weights an output of a chunk: with 2 vectors, in the first cache
constexpr int64_t kPiece = 40000;      // values of a copy: with the results, in the second cache
constexpr int64_t kPositions = 192;    // over which weights, or sums of gradients, are used again
constexpr int64_t kPartial = 1 << 19;  // values of all partial sums of a kernel's gradient
constexpr int64_t kBlocks = 8;         // of images, each with such sums

// How a kernel moves along the rows or the columns. Result `r` takes by weight `i` the value
// (r * stride - before + i * dilation) / spread, where that is whole: a `spread` of 2 is what
// undoes a stride of 2. The results r, r + spread ... are a class: they take values by the same
// weights.
struct Axis {
  int64_t size, out, weights, stride, dilation, before, spread;

  bool takes(int64_t a, int64_t i) const {
    return (a * stride - before + i * dilation) % spread == 0;
  }
  int64_t offset(int64_t a, int64_t i) const {
    return (a * stride - before + i * dilation) / spread;
  }
  int64_t results(int64_t a) const {
    return a < out ? (out - a - 1) / spread + 1 : 0;
  }  // of class a
  int64_t reach(bool last) const {  // the least or the greatest offset
    int64_t found = 0;
    bool any = false;
    for (int64_t a = 0; a < spread; ++a)
      for (int64_t i = 0; i < weights; ++i)
        if (takes(a, i)) {
          const int64_t at = offset(a, i);
          found = !any ? at : last ? std::max(found, at) : std::min(found, at);
          any = true;
        }
    return found;
  }
};

struct Shape {
  int64_t images, channels, outputs;
  Axis rows, columns;
  int64_t low[2] = {rows.reach(false), columns.reach(false)},
          high[2] = {rows.reach(true), columns.reach(true)};

  int64_t block() const { return channels % kBlock ? channels : kBlock; }
  int64_t blocks() const { return channels / block(); }
  int64_t taps() const { return rows.weights * columns.weights; }
  int64_t height(int64_t results) const {
    return (results - 1) * rows.stride + high[0] - low[0] + 1;
  }
  int64_t width() const { return (columns.results(0) - 1) * columns.stride + high[1] - low[1] + 1; }
};

// Images `n` to `n + images`, and of each the results from `row` on, `rows` of each class.
struct Piece {
  int64_t n, images, row, rows;
};

// Several small images are a group, a large one falls into strips.
struct Plan {
  int64_t group, strip;

  explicit Plan(const Shape& shape) {
    const int64_t rows = shape.rows.results(0), a_row = shape.width() * shape.channels;
    const int64_t results = shape.rows.spread * shape.columns.out * shape.outputs;  // of a row
    strip = rows;
    while (strip > 1 && shape.height(strip) * a_row + strip * results > kPiece)
      strip = (strip + 1) / 2;
    group = 1;
    if (strip == rows) {
      const int64_t positions = shape.rows.out * shape.columns.out;
      group =
          std::max<int64_t>(1, std::min((kPositions + positions - 1) / positions, shape.images));
    }
  }
  int64_t groups(const Shape& shape) const { return (shape.images + group - 1) / group; }

  template <typename Body>
  void pieces(const Shape& shape, int64_t at, const Body& body) const {
    const int64_t n = at * group, rows = shape.rows.results(0);
    for (int64_t row = 0; row < rows; row += strip)
      body(Piece{n, std::min(group, shape.images - n), row, std::min(strip, rows - row)});
  }
};

// How a copy of a piece lies: [images][blocks][rows][columns][channels of a block].
struct Layout {
  int64_t height, width, position, row, block, image;  // the latter from one to the next

  Layout(const Shape& shape, const Plan& plan)
      : height(shape.height(plan.strip)),
        width(shape.width()),
        position(shape.block()),
        row(width * position),
        block(height * row),
        image(shape.blocks() * block) {}
};

// Things of which there are sums: where their values begin in a copy, and where their sums are.
struct Table {
  std::vector<int64_t> from, to;

  void add(int64_t at, int64_t sum) { from.push_back(at), to.push_back(sum); }

  // In runs of that length. The last one fills up the last six: its sums are then computed twice,
  // and written twice.
  Table runs(int64_t run) const {
    Table found;
    for (size_t i = 0; i < from.size(); i += run) found.add(from[i], to[i]);
    while (found.from.size() % kRuns) found.add(found.from.back(), found.to.back());
    return found;
  }
};

// Rows and columns of one class.
struct Class {
  int64_t row, column;

  static std::vector<Class> of(const Shape& shape) {
    std::vector<Class> classes;
    for (int64_t a = 0; a < std::min(shape.rows.spread, shape.rows.out); ++a)
      for (int64_t b = 0; b < std::min(shape.columns.spread, shape.columns.out); ++b)
        classes.push_back({a, b});
    return classes;
  }
};

// The weights that the results of a class take; their sums are in a kernel [taps, C, O].
inline Table weights_of(const Shape& shape, const Layout& layout, const Class& of) {
  Table weights;
  for (int64_t b = 0; b < shape.blocks(); ++b)
    for (int64_t i = 0; i < shape.rows.weights; ++i)
      for (int64_t j = 0; j < shape.columns.weights; ++j)
        if (shape.rows.takes(of.row, i) && shape.columns.takes(of.column, j)) {
          const int64_t row = shape.rows.offset(of.row, i) - shape.low[0];
          const int64_t column = shape.columns.offset(of.column, j) - shape.low[1];
          const int64_t from = b * layout.block + row * layout.row + column * layout.position;
          const int64_t to = (i * shape.columns.weights + j) * shape.channels + b * layout.position;
          for (int64_t c = 0; c < layout.position; ++c)
            weights.add(from + c, (to + c) * shape.outputs);
        }
  return weights;
}

// The positions of so many rows of a class; their sums are in y, from the first of the rows on.
inline Table positions_of(const Shape& shape, const Layout& layout, const Class& of, int64_t images,
                          int64_t rows) {
  Table positions;
  for (int64_t n = 0; n < images; ++n)
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t from = n * layout.image + r * shape.rows.stride * layout.row;
      const int64_t row = n * shape.rows.out + r * shape.rows.spread + of.row;
      const int64_t to = row * shape.columns.out + of.column;
      for (int64_t j = 0; j < shape.columns.results(of.column); ++j)
        positions.add(from + j * shape.columns.stride * layout.position,
                      (to + j * shape.columns.spread) * shape.outputs);
    }
  return positions;
}

// The same for the pieces of a plan, of which nearly all have the same; in runs of that length, or
// not at all if it is 0.
struct Positions {
  const Shape& shape;
  const Layout& layout;
  const Plan& plan;
  Class of;
  int64_t run;
  Table full;

  Positions(const Shape& shape, const Layout& layout, const Plan& plan, const Class& of,
            int64_t run)
      : shape(shape),
        layout(layout),
        plan(plan),
        of(of),
        run(run),
        full(made(plan.group, plan.strip)) {}

  Table made(int64_t images, int64_t rows) const {
    const Table positions = positions_of(shape, layout, of, images, rows);
    return run ? positions.runs(run) : positions;
  }

  template <typename Body>
  void in(const Piece& piece, const Body& body) const {
    const int64_t rows = std::min(piece.rows, shape.rows.results(of.row) - piece.row);
    if (rows == plan.strip && piece.images == plan.group) return body(full);
    body(made(piece.images, rows));
  }
};
