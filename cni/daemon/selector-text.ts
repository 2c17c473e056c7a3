/** The list of enablement selectors as people write it: YAML, checked field by field, the first fault in words. */
import { parse } from "yaml";
import { messageOf } from "../../core/base/errors.ts";
import type { EnrolmentSelector, LabelExpression, LabelSelector } from "./selectors.ts";

/** @returns the selectors, or what is wrong, with its place: `[0].podSelector.matchLabels.app must be text`. */
export function parseSelectors(yaml: string): readonly EnrolmentSelector[] | string {
  let value: unknown;
  try {
    value = parse(yaml);
  } catch (thrown) {
    return messageOf(thrown).split("\n")[0] ?? "no YAML";
  }
  try {
    return list(value, "the whole").map((item, i) => entryOf(item, `[${i}]`));
  } catch (thrown) {
    if (thrown instanceof Fault) return thrown.message;
    throw thrown;
  }
}

class Fault extends Error {}

function entryOf(value: unknown, at: string): EnrolmentSelector {
  const { podSelector, namespaceSelector, ...others } = record(value, at);
  nothingElse(others, at);
  return {
    podSelector: selectorOf(podSelector, `${at}.podSelector`),
    namespaceSelector: selectorOf(namespaceSelector, `${at}.namespaceSelector`),
  };
}

/** One that isn't given matches everything, as an empty one does. */
function selectorOf(value: unknown, at: string): LabelSelector {
  const { matchLabels, matchExpressions, ...others } = value === undefined || value === null ? {} : record(value, at);
  nothingElse(others, at);
  const labels = Object.entries(matchLabels === undefined ? {} : record(matchLabels, `${at}.matchLabels`));
  const expressions = matchExpressions === undefined ? [] : list(matchExpressions, `${at}.matchExpressions`);
  return {
    matchLabels: Object.fromEntries(labels.map(([key, label]) => [key, text(label, `${at}.matchLabels.${key}`)])),
    matchExpressions: expressions.map((one, i) => expressionOf(one, `${at}.matchExpressions[${i}]`)),
  };
}

function expressionOf(value: unknown, at: string): LabelExpression {
  const { key: rawKey, operator: rawOperator, values: rawValues, ...others } = record(value, at);
  nothingElse(others, at);
  const key = text(rawKey, `${at}.key`);
  const operator = text(rawOperator, `${at}.operator`);
  const values =
    rawValues === undefined || rawValues === null
      ? []
      : list(rawValues, `${at}.values`).map((each, i) => text(each, `${at}.values[${i}]`));
  switch (operator) {
    case "In":
    case "NotIn":
      if (values.length === 0) throw new Fault(`${at}.values must not be empty with ${operator}`);
      return { key, operator, values };
    case "Exists":
    case "DoesNotExist":
      if (values.length > 0) throw new Fault(`${at}.values must be empty with ${operator}`);
      return { key, operator };
    default:
      throw new Fault(`${at}.operator must be In, NotIn, Exists or DoesNotExist`);
  }
}

function record(value: unknown, at: string): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new Fault(`${at} must be a map`);
  return value as Record<string, unknown>;
}

function list(value: unknown, at: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new Fault(`${at} must be a list`);
  return value;
}

function text(value: unknown, at: string): string {
  if (typeof value !== "string") throw new Fault(`${at} must be text`);
  return value;
}

/** A field with a typing error would widen what is selected. */
function nothingElse(others: object, at: string): void {
  const [name] = Object.keys(others);
  if (name !== undefined) throw new Fault(`${at}.${name} is no field that is known`);
}
