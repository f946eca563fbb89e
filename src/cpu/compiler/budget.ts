// Where a region looks at its budget: each block takes its length from the fuel without asking, so what is left must suffice for the
// longest way to the next look. Looks are at the entries, where loops go back, and within ways that are very long.

import { leadsBack, type Node, type Structure } from './structure.ts';

/** So many instructions at most between two looks, unless one block is longer. */
const MOST_UNTESTED = 128;

export type Budget = {
  /** What must be left where control arrives at a node. 0: the node itself looks. */
  readonly ahead: (node: Node) => number;
  /** What a node must find; 0: it does not look. */
  readonly within: (node: Node) => number;
};

export function budgetOf({ nodes }: Structure): Budget {
  const ahead = new Map<Node, number>();
  const within = new Map<Node, number>();
  for (const node of nodes.slice().reverse()) {
    if (!node.block) continue;
    let behind = 0;
    for (const to of node.successors) if (!leadsBack(node, to)) behind = Math.max(behind, ahead.get(to) ?? 0);
    const length = node.block.steps.length + behind;
    if (length > MOST_UNTESTED) within.set(node, length);
    else ahead.set(node, length);
  }
  return { ahead: (node) => ahead.get(node) ?? 0, within: (node) => within.get(node) ?? 0 };
}
