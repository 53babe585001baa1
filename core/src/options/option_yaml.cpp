#include "options/option_yaml.hpp"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

namespace hone::detail {
namespace {

/// Hears where documents begin, and nothing else.
class DocumentStarts final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark& mark) override { starts.push_back(mark); }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

  std::vector<YAML::Mark> starts;
};

/// YAML::LoadAll() would say as much, but for texts such as ",{a: b}" on which it never ends.
std::optional<YAML::Mark> start_of_second_document(const std::string& text) {
  std::istringstream stream{text};
  YAML::Parser parser{stream};
  DocumentStarts documents;
  for (int i = 0; i < 2; ++i) parser.HandleNextDocument(documents);
  if (documents.starts.size() < 2) return std::nullopt;
  return documents.starts[1];
}

class YamlReader {
 public:
  YamlReader(const OptionLookup& lookup, std::string_view name) : lookup_(lookup), name_(name) {}

  OptionReading read(std::string_view text) {
    try {
      const auto document = YAML::Load(std::string{text});
      if (const auto second = start_of_second_document(std::string{text})) {
        problem(*second, "a second YAML document; one file holds one set of options");
      }
      if (!document.IsNull()) read_map(document, "");
    } catch (const YAML::Exception& error) {
      problem(error.mark, "not YAML: " + error.msg);
    }
    return std::move(reading_);
  }

 private:
  std::string position(const YAML::Mark& mark) const {
    if (mark.is_null()) return name_ + ": ";
    return name_ + ':' + std::to_string(mark.line + 1) + ':' + std::to_string(mark.column + 1) +
           ": ";
  }

  void problem(const YAML::Mark& mark, const std::string& text) {
    reading_.problems.push_back(position(mark) + text);
  }

  void read_map(const YAML::Node& node, const std::string& section) {
    if (!node.IsMap()) {
      const std::string what =
          section.empty() ? "options" : in_quotes(section.substr(0, section.size() - 1));
      problem(node.Mark(), what + " must be written as \"key: value\" pairs");
      return;
    }
    for (const auto& pair : node) {
      if (pair.first.IsScalar()) {
        read_key(pair.first, pair.second, section + pair.first.Scalar());
      } else {
        problem(pair.first.Mark(), "a key must be the name of an option");
      }
    }
  }

  void read_key(const YAML::Node& key, const YAML::Node& value, const std::string& name) {
    const auto match = lookup_.find(name);
    if (!match && lookup_.is_section(name)) {
      read_section(value, name);
    } else if (!match) {
      problem(key.Mark(), "unknown option " + in_quotes(name) + "." + lookup_.advice(name, ""));
    } else if (match->option->is_command_line_only()) {
      problem(key.Mark(), in_quotes(name) + " belongs on the command line: --" + name);
    } else {
      read_option(*match, key, value);
    }
  }

  /// `keep: all` is short for `keep: {all: true}`, where the section has such a switch.
  void read_section(const YAML::Node& value, const std::string& name) {
    if (value.IsNull()) return;
    const auto match = value.IsScalar() ? lookup_.find(name + '.' + value.Scalar()) : std::nullopt;
    if (match && match->option->shape().boolean) {
      read_option(*match, value, YAML::Node{"true"});
    } else {
      read_map(value, name + '.');
    }
  }

  void read_option(const OptionMatch& match, const YAML::Node& key, const YAML::Node& value) {
    const auto [first, is_first] = first_marks_.try_emplace(match.option, key.Mark());
    if (!is_first) {
      problem(key.Mark(), in_quotes(match.option->name()) + " is given twice, first in line " +
                              std::to_string(first->second.line + 1));
      return;
    }
    if (match.alias) reading_.notices.push_back(position(key.Mark()) + match.alias->notice);
    reading_.assignments.push_back(assignment(*match.option, value));
  }

  OptionAssignment assignment(Option& option, const YAML::Node& value) const {
    OptionAssignment result{&option, position(value.Mark()) + option.name(), {}, {}};
    const bool list = option.shape().list;
    if (value.IsScalar() && (!list || option.is_comma_separated())) {
      result.texts = {value.Scalar()};
    } else if (value.IsSequence() && list && all_scalars(value)) {
      result.texts.emplace();
      for (const auto& item : value) result.texts->push_back(item.Scalar());
    } else if (!value.IsNull() || !option.shape().nullable) {
      result.shown = shown(value, list);
    }
    return result;
  }

  static std::string shown(const YAML::Node& value, bool list_expected) {
    if (value.IsNull()) return "nothing";
    if (value.IsScalar()) return in_quotes(value.Scalar()) + ": write [" + value.Scalar() + "]";
    if (value.IsMap()) return "\"key: value\" pairs";
    return list_expected ? "a list with something else inside" : "a list";
  }

  static bool all_scalars(const YAML::Node& sequence) {
    return std::all_of(sequence.begin(), sequence.end(),
                       [](const YAML::Node& item) { return item.IsScalar(); });
  }

  const OptionLookup& lookup_;
  std::string name_;
  std::map<const Option*, YAML::Mark> first_marks_;
  OptionReading reading_;
};

/// Options by section, in the order of declaration.
struct YamlTree {
  std::string key;
  const Option* option = nullptr;
  std::vector<YamlTree> children = {};

  YamlTree& child(const std::string& name) {
    const auto found = std::ranges::find(children, name, &YamlTree::key);
    if (found != children.end()) return *found;
    children.push_back({name});
    return children.back();
  }

  void insert(const std::string& name, const Option& leaf) {
    const auto dot = name.find('.');
    YamlTree& next = child(name.substr(0, dot));
    if (dot == std::string::npos) {
      next.option = &leaf;
    } else {
      next.insert(name.substr(dot + 1), leaf);
    }
  }
};

void emit_scalar(YAML::Emitter& out, const std::string& text, bool quoted) {
  // Quotes keep "null", "yes" and "1" text for every reader.
  if (quoted) out << YAML::DoubleQuoted;
  out << text;
}

void emit_value(YAML::Emitter& out, const Option& option) {
  const auto texts = option.texts();
  const bool quoted = option.shape().quoted;
  if (!texts) {
    out << YAML::Null;
  } else if (!option.shape().list) {
    emit_scalar(out, texts->front(), quoted);
  } else {
    out << YAML::Flow << YAML::BeginSeq;
    for (const std::string& text : *texts) emit_scalar(out, text, quoted);
    out << YAML::EndSeq;
  }
}

void emit_map(YAML::Emitter& out, const YamlTree& tree) {
  out << YAML::BeginMap;
  for (const auto& child : tree.children) {
    out << YAML::Key << child.key << YAML::Value;
    if (child.option) {
      emit_value(out, *child.option);
    } else {
      emit_map(out, child);
    }
  }
  out << YAML::EndMap;
}

}  // namespace

OptionReading read_yaml(const OptionLookup& lookup, std::string_view text, std::string_view name) {
  return YamlReader{lookup, name}.read(text);
}

std::string write_yaml(const std::deque<Option>& options) {
  YamlTree tree;
  for (const Option& option : options) {
    if (!option.is_command_line_only()) tree.insert(option.name(), option);
  }
  YAML::Emitter out;
  emit_map(out, tree);
  return std::string{out.c_str()} + '\n';
}

}  // namespace hone::detail
