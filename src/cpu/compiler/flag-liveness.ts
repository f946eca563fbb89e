// Which status flags somebody may still ask for. Flags that are overwritten before anybody does, on every way, are not made at all. Whoever
// can leave the region asks: outside, flags must be true.

import type { Budget } from './budget.ts';
import type { Block, Step } from './graph.ts';
import { leadsBack, type Node, type Structure, viaRoot } from './structure.ts';

export type FlagLiveness = {
  /** Are the flags that stand at the start of a node wanted? */
  readonly into: (node: Node) => boolean;
  /** Are those wanted that the node's instruction number k leaves? */
  readonly behind: (node: Node, k: number) => boolean;
};

export function flagLiveness({ nodes, nodeOf }: Structure, { within }: Budget): FlagLiveness {
  const into = new Set<Node>();
  const wantedBy = (from: Node, to: Block | null): boolean => {
    if (!to) return true;
    const node = nodeOf.get(to) as Node;
    // Where control leads back, the budget is looked at.
    return viaRoot(from, node) || leadsBack(from, node) || into.has(node);
  };
  const behindAll = (node: Node): boolean => {
    const block = node.block as Block;
    const { info } = block.steps.at(-1) as Step;
    return info.indirect || (info.direct && wantedBy(node, block.taken)) || (info.falls && wantedBy(node, block.falls));
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of nodes.slice().reverse()) {
      if (!node.block || into.has(node)) continue;
      let wanted = behindAll(node);
      for (const { info } of node.block.steps.slice().reverse()) wanted = before(info, wanted);
      if (!wanted && within(node) === 0) continue;
      into.add(node);
      changed = true;
    }
  }
  const behind = new Map<Node, boolean[]>();
  for (const node of nodes) {
    if (!node.block) continue;
    const { steps } = node.block;
    const list: boolean[] = [];
    let wanted = behindAll(node);
    for (let k = steps.length - 1; k >= 0; k--) {
      list[k] = wanted;
      wanted = before((steps[k] as Step).info, wanted);
    }
    behind.set(node, list);
  }
  return { into: (node) => into.has(node), behind: (node, k) => behind.get(node)?.[k] ?? true };
}

const before = ({ mayLeave, flags }: Step['info'], behind: boolean): boolean =>
  mayLeave || flags === 'reads' || (flags !== 'sets' && behind);
