"""As much of n8n as the workflow of the recipes needs: items walk from a webhook, expressions are evaluated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_EXPRESSION = re.compile(r"\{\{(.*?)\}\}")
_PATH = re.compile(r"\$json((?:\.\w+|\['[^']+'\])+)")
_STEP = re.compile(r"\.(\w+)|\['([^']+)'\]")
Item = dict[str, Any]
Node = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that a node makes for an item; ``credential`` is the kind and name of what authenticates it."""

    method: str
    url: str
    query: dict[str, str]
    body: Item | None
    credential: tuple[str, str]


def evaluate(text: Any, item: Item) -> Any:
    """Return what a parameter is for an item.

    :raises ValueError: an expression is none of those this evaluator knows
    :raises KeyError: it names a field that the item lacks
    """
    if not isinstance(text, str) or not text.startswith("="):
        return text
    if whole := re.fullmatch(r"=\{\{((?:(?!\}\}).)*)\}\}", text):
        return _value(whole[1], item)
    return _EXPRESSION.sub(lambda found: str(_value(found[1], item)), text[1:])


def _value(expression: str, item: Item) -> Any:
    path = _PATH.fullmatch(expression.strip())
    if path is None:
        raise ValueError(f"unknown expression: {expression}")
    value: Any = item
    for plain, quoted in _STEP.findall(path[1]):
        value = value[plain or quoted]
    return value


class Workflow:
    """A workflow that was exported from n8n, or written like that."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.nodes: dict[str, Node] = {node["name"]: node for node in document["nodes"]}
        self._connections = document["connections"]
        self._seen: set[Any] = set()
        self.reached: list[tuple[str, Item]] = []
        """Nodes that do nothing, and the items that came to them."""

    def after(self, name: str) -> list[str]:
        """Return the names of the nodes that a node leads to."""
        outputs = self._connections.get(name, {}).get("main", [])
        return [link["node"] for output in outputs for link in output]

    def trigger(self, path: str, body: Item, headers: dict[str, str] | None = None) -> list[Call]:
        """Return the requests that follow from one to the webhook of this path."""
        (start,) = (name for name, node in self.nodes.items() if node["parameters"].get("path") == path)
        item = {"headers": headers or {}, "params": {}, "query": {}, "body": body}
        return [call for name in self.after(start) for call in self._walk(name, [item])]

    def _walk(self, name: str, items: list[Item]) -> Iterator[Call]:
        node = self.nodes[name]
        given, passed = node["parameters"], []
        for item in items:
            match node["type"].removeprefix("n8n-nodes-base."):
                case "set":
                    passed.append(_assigned(given["assignments"]["assignments"], item))
                case "splitOut":
                    field = given["fieldToSplitOut"]
                    passed += [item | {field: part} for part in item[field]]
                case "httpRequest":
                    yield _call(node, item)
                case "removeDuplicates":
                    if (key := evaluate(given["dedupeValue"], item)) not in self._seen:
                        self._seen.add(key)
                        passed.append(item)
                case "noOp":
                    self.reached.append((name, item))
                case unknown:
                    raise ValueError(f"unknown node: {unknown}")
        if passed:
            for following in self.after(name):
                yield from self._walk(following, passed)


def _assigned(assignments: list[dict[str, Any]], item: Item) -> Item:
    made = {}
    for field in assignments:
        value = evaluate(field["value"], item)
        match field["type"]:
            case "string":
                made[field["name"]] = str(value)
            case "array":
                made[field["name"]] = json.loads(value)
            case unknown:
                raise ValueError(f"unknown type: {unknown}")
    return made


def _call(node: Node, item: Item) -> Call:
    given = node["parameters"]
    kind = given["genericAuthType"]
    return Call(
        method=given["method"],
        url=evaluate(given["url"], item),
        query=dict(_pairs(given, "sendQuery", "queryParameters", item)),
        body=_nested(_pairs(given, "sendBody", "bodyParameters", item)) if given.get("sendBody") else None,
        credential=(kind, node["credentials"][kind]["name"]),
    )


def _pairs(given: dict[str, Any], switch: str, name: str, item: Item) -> list[tuple[str, Any]]:
    pairs = given[name]["parameters"] if given.get(switch) else []
    return [(pair["name"], evaluate(pair["value"], item)) for pair in pairs]


def _nested(pairs: list[tuple[str, Any]]) -> Item:
    """Return the fields as an object; a dot in a name leads into one."""
    made: Item = {}
    for name, value in pairs:
        *above, last = name.split(".")
        inner = made
        for step in above:
            inner = inner.setdefault(step, {})
        inner[last] = value
    return made
