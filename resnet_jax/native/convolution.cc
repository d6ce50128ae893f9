// Convolutions with what stands around them in a residual net, as custom calls of XLA on a CPU:
//
//   y = conv(relu(x * factor + offset), kernel) + add, and of each image's y the mean and the sum
//       of the squares about it;
//   dx and dw of the same, from a gradient dy + offset + factor * y.
//
// Maps are [N, H, W, C], kernels [KH, KW, C, O], factors and offsets [N, C] or [N, O].
//
//   for each group of images, for each strip of their rows     in parallel: no sum crosses groups
//     copy the rows with their zeros, 16 channels after 16, and apply what comes before
//     for each block of outputs, 2 vectors wide
//       for each chunk of weights that stays in the first cache
//         for P positions at a time, wherever they are
//           for each weight: 2 vectors of weights by P broadcast values, P x 2 multiply-adds,
//           whose sums stay in registers
//     apply what comes after, while the results are in the second cache
//
// dw is the same with positions and weights exchanged: for P weights at a time, for each position 2
// vectors of gradients by P values.
//
// A multiply-add of vectors needs (P + 2) / 2 P loads, less than one: the bound is arithmetic, two
// multiply-adds a cycle. benchmarks/README.md has what is reached of it.
//
// Sums over images go over blocks of images that depend on the shapes alone, so that the number of
// threads changes no bit.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "copies.h"
#include "geometry.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace {

namespace ffi = xla::ffi;

// Adds to the sums of six runs of R things, each Q vectors, what `count` rows of a panel give, each
// times the things' values at the row's index. Within a run sums are `pitch` apart, values `step`.
template <typename T, int R, int Q>
void tile(const T* values, const int64_t* from, int64_t step, const int64_t* index, int64_t count,
          const T* panel, bool more, T* results, const int64_t* to, int64_t pitch) {
  using L = Lanes<T>;
  typename L::Vector sums[kRuns][R][Q];
  const T* at[kRuns];
  for (int p = 0; p < kRuns; ++p) {
    at[p] = values + from[p];
    for (int r = 0; r < R; ++r)
      for (int q = 0; q < Q; ++q)
        sums[p][r][q] =
            more ? L::load(results + to[p] + r * pitch + q * L::count) : typename L::Vector{};
  }
#pragma GCC unroll 2
  for (int64_t k = 0; k < count; ++k, panel += Q * L::count) {
    const int64_t i = index[k];
    typename L::Vector held[Q];
    for (int q = 0; q < Q; ++q) held[q] = L::hold(panel + q * L::count);
#pragma GCC unroll 6
    for (int p = 0; p < kRuns; ++p)
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r)
#pragma GCC unroll 2
        for (int q = 0; q < Q; ++q) sums[p][r][q] += at[p][i + r * step] * held[q];
  }
  for (int p = 0; p < kRuns; ++p)
    for (int r = 0; r < R; ++r)
      for (int q = 0; q < Q; ++q)
        L::store(results + to[p] + r * pitch + q * L::count, sums[p][r][q]);
}

// All tiles of the runs of a table by `at_once` rows of the panel at a time.
template <typename T, int R, int Q>
void tiles(const T* values, const Table& runs, int64_t step, const std::vector<int64_t>& index,
           int64_t at_once, const T* panel, bool more, T* results, int64_t pitch) {
  const int64_t count = index.size();
  int64_t k = 0;
  do {
    const int64_t rows = std::min(at_once, count - k);
    for (size_t i = 0; i < runs.from.size(); i += kRuns)
      tile<T, R, Q>(values, &runs.from[i], step, index.data() + k, rows,
                    panel + k * Q * Lanes<T>::count, more || k, results, &runs.to[i], pitch);
    k += rows;
  } while (k < count);
}

// The same for runs of that length, and a panel of two vectors or one.
template <typename T, typename... Arguments>
void all_tiles(int64_t run, bool two, const Arguments&... arguments) {
  if (run == 1) return two ? tiles<T, 1, 2>(arguments...) : tiles<T, 1, 1>(arguments...);
  two ? tiles<T, kRun, 2>(arguments...) : tiles<T, kRun, 1>(arguments...);
}

// y of each piece, then after(image, first row, rows, first output, outputs) for each of its
// images.
template <typename Pool, typename T, typename After>
void convolve(Pool& pool, const Shape& shape, const Input<T>& input, const T* kernel, bool turned,
              T* y, const After& after) {
  const Plan plan(shape);
  const Layout layout(shape, plan);
  const std::vector<Class> classes = Class::of(shape);
  const Outputs<T> outputs(shape.outputs, plan.groups(shape), pool.num_threads());
  std::vector<Table> weights;
  std::vector<Positions> positions;
  for (const Class& of : classes) {
    weights.push_back(weights_of(shape, layout, of));
    positions.emplace_back(shape, layout, plan, of,
                           shape.columns.results(of.column) % kRun ? 1 : kRun);
  }
  const auto panels = packed(pool, shape, kernel, turned, weights, outputs);
  parallel(pool, plan.groups(shape) * outputs.splits, [&](int64_t task) {
    const int64_t from = outputs.begin(task % outputs.splits),
                  end = outputs.begin(task % outputs.splits + 1);
    plan.pieces(shape, task / outputs.splits, [&](const Piece& piece) {
      const T* values = copy(shape, layout, input, piece);
      int64_t before = 0;  // weights of an output, in the classes before
      T* first = y + (piece.n * shape.rows.out + piece.row * shape.rows.spread) *
                         shape.columns.out * shape.outputs;
      for (size_t i = 0; i < classes.size(); before += weights[i++].from.size())
        positions[i].in(piece, [&](const Table& runs) {
          for (int64_t o = from; o < end; o += outputs.wide) {
            const int64_t width = std::min(outputs.wide, shape.outputs - o);
            const T* panel = &panels[o * shape.taps() * shape.channels + before * width];
            all_tiles<T>(positions[i].run, outputs.two(o), values, runs,
                         shape.columns.stride * layout.position, weights[i].from, kChunk, panel,
                         false, first + o, shape.columns.spread * shape.outputs);
          }
        });
      const int64_t row = piece.row * shape.rows.spread;
      const int64_t rows = std::min(piece.rows * shape.rows.spread, shape.rows.out - row);
      for (int64_t n = piece.n; n < piece.n + piece.images; ++n)
        after(n, row, rows, from, end - from);
    });
  });
}

// Calls body(first position, end, channel), a vector of channels at a time, for so many positions
// that the next vector finds their lines in the first cache.
template <typename T, typename Body>
void over(int64_t positions, int64_t channels, const Body& body) {
  const int64_t at_once = std::max<int64_t>(8, 2048 / channels);
  for (int64_t p = 0; p < positions; p += at_once)
    for (int64_t c = 0; c < channels; c += Lanes<T>::count)
      body(p, std::min(p + at_once, positions), c);
}

// Adds `add`, if there is one, and takes the moments of each image's y about its first value: as
// that is one of the values, little can be lost.
template <typename T>
struct Moments {
  const Shape& shape;
  const T* add;
  T *y, *mean, *squares;

  void operator()(int64_t n, int64_t row, int64_t rows, int64_t o, int64_t count) const {
    using L = Lanes<T>;
    const int64_t image = shape.rows.out * shape.columns.out, outputs = shape.outputs;
    const int64_t begin = n * image * outputs + o, at = begin + row * shape.columns.out * outputs;
    T *sum = mean + n * outputs + o, *square = squares + n * outputs + o;
    if (!row) std::fill(sum, sum + count, T(0)), std::fill(square, square + count, T(0));
    over<T>(rows * shape.columns.out, count, [&](int64_t p, int64_t end, int64_t c) {
      auto first = L::load(y + begin + c), sums = L::load(sum + c),
           of_squares = L::load(square + c);
      if (add && !row && !p) first += L::load(add + begin + c);
      for (; p < end; ++p) {
        const int64_t i = at + p * outputs + c;
        auto value = L::load(y + i);
        if (add) L::store(y + i, value += L::load(add + i));
        value -= first;
        sums += value;
        of_squares += value * value;
      }
      L::store(sum + c, sums);
      L::store(square + c, of_squares);
    });
    if (row + rows < shape.rows.out) return;
    for (int64_t c = 0; c < count; ++c) {
      square[c] -= sum[c] * sum[c] / T(image);
      if (square[c] < T(0)) square[c] = T(0);  // by rounding; a NaN stays
      sum[c] = y[begin + c] + sum[c] / T(image);
    }
  }
};

// Of the gradient z of relu(x * factor + offset), if that was there: dx, and the factors' and
// offsets' gradients of each image; then adds `add`.
template <typename T>
struct Gradients {
  const Shape& shape;
  const T *x, *factor, *offset, *add;
  bool relu;
  T *z, *dfactor, *doffset;

  void operator()(int64_t n, int64_t row, int64_t rows, int64_t o, int64_t count) const {
    using L = Lanes<T>;
    const int64_t at = (n * shape.rows.out + row) * shape.columns.out * shape.outputs + o;
    const int64_t positions = rows * shape.columns.out, image = n * shape.outputs + o;
    if (x && !row)
      std::fill(dfactor + image, dfactor + image + count, T(0)),
          std::fill(doffset + image, doffset + image + count, T(0));
    if (!x && !add) return;
    over<T>(positions, count, [&](int64_t p, int64_t end, int64_t c) {
      typename L::Vector of_factor = {}, of_offset = {}, by = {}, plus = {};
      if (x) {
        by = L::load(factor + image + c), plus = L::load(offset + image + c);
        of_factor = L::load(dfactor + image + c), of_offset = L::load(doffset + image + c);
      }
      for (; p < end; ++p) {
        const int64_t i = at + p * shape.outputs + c;
        auto gradient = L::load(z + i);
        if (x) {
          const auto value = L::load(x + i);
          if (relu) gradient = value * by + plus > T(0) ? gradient : typename L::Vector{};
          of_factor += gradient * value;
          of_offset += gradient;
          gradient *= by;
        }
        if (add) gradient += L::load(add + i);
        L::store(z + i, gradient);
      }
      if (x) L::store(dfactor + image + c, of_factor), L::store(doffset + image + c, of_offset);
    });
  }
};

// dw, for each block of images on its own, over all positions of a piece at a time.
template <typename Pool, typename T>
void weight_gradients(Pool& pool, const Shape& shape, const Input<T>& x, const Input<T>& dy,
                      T* dw) {
  const Plan plan(shape);
  const Layout layout(shape, plan);
  const int64_t size = shape.taps() * shape.channels * shape.outputs, groups = plan.groups(shape);
  const int64_t blocks = std::max<int64_t>(1, std::min({kBlocks, groups, kPartial / size}));
  const int64_t run = layout.position % kRun ? 1 : kRun;
  const Table runs = weights_of(shape, layout, {0, 0}).runs(run);
  const Positions positions(shape, layout, plan, {0, 0}, 0);
  const Outputs<T> outputs(shape.outputs, blocks, pool.num_threads());
  std::vector<T> partial(size * (blocks - 1));
  parallel(pool, blocks * outputs.splits, [&](int64_t task) {
    const int64_t from = outputs.begin(task % outputs.splits),
                  end = outputs.begin(task % outputs.splits + 1);
    const int64_t block = task / outputs.splits;
    T* sums = block ? &partial[size * (block - 1)] : dw;
    for (int64_t k = 0; k < size; k += shape.outputs)
      std::fill(sums + k + from, sums + k + end, T(0));
    for (int64_t group = groups * block / blocks; group < groups * (block + 1) / blocks; ++group)
      plan.pieces(shape, group, [&](const Piece& piece) {
        const T* values = copy(shape, layout, x, piece);
        const T* gradients = copy_gradients(shape, dy, piece, from, end, outputs.wide);
        positions.in(piece, [&](const Table& all) {
          for (int64_t o = from; o < end; o += outputs.wide)
            all_tiles<T>(run, outputs.two(o), values, runs, 1, all.from, kPositions,
                         gradients + (o - from) * all.from.size(), true, sums + o, shape.outputs);
        });
      });
  });
  for (int64_t block = 1; block < blocks; ++block)
    for (int64_t k = 0; k < size; ++k) dw[k] += partial[size * (block - 1) + k];
}

// Arrays of no values stand for none.
template <ffi::DataType type>
using Array = ffi::Buffer<type>;
template <ffi::DataType type>
using Result = ffi::ResultBuffer<type>;
using Numbers = ffi::Span<const int64_t>;

template <ffi::DataType type>
auto* values(const Array<type>& array) {
  return array.element_count() ? array.typed_data() : nullptr;
}

// `window`: strides, dilations, zeros before and spreads, of rows and of columns.
template <ffi::DataType type>
Shape shape(const Array<type>& x, const Array<type>& y, const Array<type>& kernel, Numbers window) {
  const auto in = x.dimensions(), out = y.dimensions(), weights = kernel.dimensions();
  const auto axis = [&](int i) {
    return Axis{in[1 + i],     out[1 + i],    weights[i],   window[i],
                window[2 + i], window[4 + i], window[6 + i]};
  };
  return Shape{in[0], in[3], out[3], axis(0), axis(1)};
}

template <ffi::DataType type>
ffi::Error Forward(ffi::ThreadPool pool, Array<type> x, Array<type> factor, Array<type> offset,
                   Array<type> kernel, Array<type> add, Result<type> y, Result<type> mean,
                   Result<type> squares, bool relu, Numbers window) {
  const Shape made = shape<type>(x, *y, kernel, window);
  const auto *f = values(factor), *from = x.typed_data();
  const Input<ffi::NativeType<type>> input{f ? nullptr : from, f ? from : nullptr, f,
                                           values(offset), relu};
  const Moments<ffi::NativeType<type>> after{made, values(add), y->typed_data(), mean->typed_data(),
                                             squares->typed_data()};
  convolve(pool, made, input, kernel.typed_data(), false, y->typed_data(), after);
  return ffi::Error::Success();
}

template <ffi::DataType type>
ffi::Error Backward(ffi::ThreadPool pool, Array<type> dy, Array<type> y, Array<type> by,
                    Array<type> plus, Array<type> kernel, Array<type> x, Array<type> factor,
                    Array<type> offset, Array<type> add, Result<type> dx, Result<type> dfactor,
                    Result<type> doffset, bool relu, Numbers window) {
  const Shape made = shape<type>(dy, *dx, kernel, window);
  const Input<ffi::NativeType<type>> input{dy.typed_data(), values(y), values(by), values(plus),
                                           false};
  const Gradients<ffi::NativeType<type>> after{
      made, values(x),        values(factor),        values(offset),       values(add),
      relu, dx->typed_data(), dfactor->typed_data(), doffset->typed_data()};
  convolve(pool, made, input, kernel.typed_data(), true, dx->typed_data(), after);
  return ffi::Error::Success();
}

template <ffi::DataType type>
ffi::Error Weights(ffi::ThreadPool pool, Array<type> x, Array<type> factor, Array<type> offset,
                   Array<type> dy, Array<type> y, Array<type> by, Array<type> plus, Result<type> dw,
                   bool relu, Numbers window) {
  const Shape made = shape<type>(x, dy, *dw, window);
  const auto *f = values(factor), *from = x.typed_data();
  weight_gradients<ffi::ThreadPool, ffi::NativeType<type>>(
      pool, made, {f ? nullptr : from, f ? from : nullptr, f, values(offset), relu},
      {dy.typed_data(), values(y), values(by), values(plus), false}, dw->typed_data());
  return ffi::Error::Success();
}

template <ffi::DataType type, int arguments, int results, typename Binding>
auto with_arrays(Binding binding) {
  if constexpr (arguments)
    return with_arrays<type, arguments - 1, results>(
        std::move(binding).template Arg<Array<type>>());
  else if constexpr (results)
    return with_arrays<type, 0, results - 1>(std::move(binding).template Ret<Array<type>>());
  else
    return std::move(binding).template Attr<bool>("relu").template Attr<Numbers>("window");
}

template <ffi::DataType type, int arguments, int results>
auto binding() {
  return with_arrays<type, arguments, results>(ffi::Ffi::Bind().Ctx<ffi::ThreadPool>());
}

}  // namespace

extern "C" int vector_bytes() { return kBytes; }

XLA_FFI_DEFINE_HANDLER_SYMBOL(forward_float32, Forward<ffi::F32>, (binding<ffi::F32, 5, 3>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(forward_float64, Forward<ffi::F64>, (binding<ffi::F64, 5, 3>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(backward_float32, Backward<ffi::F32>, (binding<ffi::F32, 9, 3>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(backward_float64, Backward<ffi::F64>, (binding<ffi::F64, 9, 3>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(weights_float32, Weights<ffi::F32>, (binding<ffi::F32, 7, 1>()));
XLA_FFI_DEFINE_HANDLER_SYMBOL(weights_float64, Weights<ffi::F64>, (binding<ffi::F64, 7, 1>()));
