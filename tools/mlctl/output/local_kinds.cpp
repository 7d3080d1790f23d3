// The columns of what mlctl finds out itself.
#include "tools/mlctl/output/kind.h"
#include "tools/mlctl/output/local_things.h"

namespace ml::ctl {
namespace {

using enum Shown;

constexpr Column kUtilisationColumns[] = {
    {"kind", "KIND", Unit::text, "device, or client: a session on the device above.", of<&Utilisation::kind>},
    {"name", "NAME", Unit::text, "The device's name, or the client's program and session.", of<&Utilisation::name>},
    {"device", "DEVICE", Unit::text, "The device.", of<&Utilisation::device>},
    {"owner", "OWNER", Unit::text, "The client's user; null for a device.", unless_zero<&Utilisation::owner>, table,
     true},
    {"busy", "BUSY", Unit::fraction,
     "Share of the interval in which it computed (serving); above 1 with several executors.", of<&Utilisation::busy>},
    {"training", "TRAINING", Unit::fraction, "Share of the interval in which its job's worker computed.",
     of<&Utilisation::training>},
    {"memory_bytes", "MEMORY", Unit::bytes, "Memory in use.", of<&Utilisation::memory_bytes>},
    {"executions", "EXECUTIONS", Unit::count, "Executions in the interval; 0 for a device.",
     of<&Utilisation::executions>},
    {"interval_ns", "INTERVAL", Unit::duration, "Time between the two readings.", of<&Utilisation::interval_ns>, wide},
};

constexpr Column kWhyColumns[] = {
    {"job", "JOB", Unit::count, "The job's number.", of<&Why::job>},
    {"why", "WHY", Unit::text, "Why it waits, runs or ended, in one sentence with the numbers.", of<&Why::why>},
};

constexpr Column kCheckColumns[] = {
    {"status", "STATUS", Unit::text, "ok, warn (works, but worse than it could) or fail.", of<&Check::status>},
    {"name", "CHECK", Unit::text, "What was looked at.", of<&Check::name>},
    {"detail", "FOUND", Unit::text, "What was found.", of<&Check::detail>},
    {"hint", "HINT", Unit::text, "What to do about it; null when nothing.", unless_zero<&Check::hint>, wide, true},
};

constexpr Column kCodeColumns[] = {
    {"code", "CODE", Unit::text, "The stable code.", of<&CodePage::code>},
    {"name", "NAME", Unit::text, "The error's name in ml::Code and the C API.", of<&CodePage::name>, wide},
    {"title", "MEANING", Unit::text, "What it means, in one sentence.", of<&CodePage::title>},
    {"text", "TEXT", Unit::text, "The page: why it happens and what to do.", of<&CodePage::text>, data},
};

constexpr Column kFigureColumns[] = {
    {"bench", "BENCH", Unit::text, "What was measured.", of<&Figure::bench>},
    {"config", "CONFIG", Unit::text, "How it was set.", of<&Figure::config>, wide},
    {"value", "VALUE", Unit::number, "The figure.", of<&Figure::value>},
    {"unit", "UNIT", Unit::text, "Its unit.", of<&Figure::unit>},
    {"peer", "PEER", Unit::text, "What was measured beside it in the same run; null when nothing was.",
     unless_zero<&Figure::peer>, table, true},
    {"peer_value", "PEER VALUE", Unit::number, "The peer's figure.",
     [](const void* f) {
       const auto& figure = *static_cast<const Figure*>(f);
       return figure.peer.empty() ? Value() : Value(figure.peer_value);
     },
     table, true},
    {"ratio", "RATIO", Unit::number, "value / peer_value.",
     [](const void* f) {
       const auto& figure = *static_cast<const Figure*>(f);
       return figure.peer.empty() ? Value() : Value(figure.ratio);
     },
     table, true},
};

constexpr Column kTensorColumns[] = {
    {"name", "OUTPUT", Unit::text, "The output's name.", of<&TensorView::name>},
    {"dtype", "DTYPE", Unit::text, "Type of its elements.", of<&TensorView::dtype>},
    {"shape", "SHAPE", Unit::text, "",
     [](const void* t) {
       std::string text = "[";
       for (const std::int64_t extent : static_cast<const TensorView*>(t)->shape)
         text += (text.size() > 1 ? ", " : "") + std::to_string(extent);
       return Value(text + ']');
     },
     people},
    {"dims", "SHAPE", Unit::counts, "Its extents.",
     [](const void* t) { return list_of(static_cast<const TensorView*>(t)->shape); }, data},
    {"min", "MIN", Unit::number, "The least element; null when it has none, or it is not a number.",
     of<&TensorView::least>, table, true},
    {"mean", "MEAN", Unit::number, "Their mean; null likewise.", of<&TensorView::mean>, table, true},
    {"max", "MAX", Unit::number, "The greatest element; null likewise.", of<&TensorView::greatest>, table, true},
    {"file", "FILE", Unit::text, "The .npy file that it was written to; null without --output.",
     unless_zero<&TensorView::file>, table, true},
    {"values", "VALUES", Unit::numbers, "Its elements, row-major; null when they were written to a file.",
     [](const void* t) {
       const auto& tensor = *static_cast<const TensorView*>(t);
       return tensor.file.empty() ? Value(tensor.values) : Value();
     },
     data, true},
};

constexpr Column kPredictionColumns[] = {
    {"sample", "SAMPLE", Unit::count, "Which sample of the batch, from 0.", of<&Prediction::sample>},
    {"rank", "RANK", Unit::count, "1 is the highest value.", of<&Prediction::rank>},
    {"index", "INDEX", Unit::count, "Which element of the output: the class.", of<&Prediction::index>},
    {"label", "LABEL", Unit::text, "Its name, from --labels; null without.", unless_zero<&Prediction::label>, table,
     true},
    {"value", "VALUE", Unit::number, "The element: what the model makes of it.", of<&Prediction::value>, table, true},
    {"output", "OUTPUT", Unit::text, "The output's name.", of<&Prediction::output>, wide},
};

const Kind* const kAll[] = {&kStatusKind,     &kDeviceKind, &kUtilisationKind, &kModelKind,  &kTensorKind,
                            &kPredictionKind, &kJobKind,    &kWhyKind,         &kClientKind, &kLimitKind,
                            &kFigureKind,     &kCheckKind,  &kCodeKind};

}  // namespace

const Kind kUtilisationKind{"utilisation", "utilisation", "How busy a device or a client of it was.",
                            kUtilisationColumns, "name"};
const Kind kWhyKind{"why", "why", "The reason of a job's state.", kWhyColumns, "job"};
const Kind kCheckKind{"check", "checks", "One thing that doctor looked at.", kCheckColumns, "name"};
const Kind kCodeKind{"code", "codes", "An error code.", kCodeColumns, "code"};
const Kind kFigureKind{"figure", "figures", "A measured figure, beside a peer.", kFigureColumns, "bench"};
const Kind kTensorKind{"tensor", "tensors", "An output of a model.", kTensorColumns, "name"};
const Kind kPredictionKind{"prediction", "predictions", "One of the highest elements of an output.", kPredictionColumns,
                           "index"};

std::span<const Kind* const> kinds() { return kAll; }

}  // namespace ml::ctl
