// From a graph of blocks to structured control flow: a tree in which each block stands inside the one that dominates it (Ramsey, "Beyond
// Relooper", 2022). One root dispatches to the blocks that are entered from outside; an edge that no structure can hold goes back to it.

import type { Block, Graph } from './graph.ts';

export type Node = {
  /** null: the root. */
  readonly block: Block | null;
  readonly successors: Node[];
  readonly predecessors: Node[];
  /** Nodes that this one dominates directly, in reverse postorder. */
  readonly children: Node[];
  dominator: Node | null;
  /** Position in reverse postorder. */
  order: number;
  /** Number by which the root dispatches to it, -1 if it does not. */
  entry: number;
  isLoop: boolean;
};

export type Structure = {
  readonly root: Node;
  /** In reverse postorder, the root first. */
  readonly nodes: readonly Node[];
  readonly nodeOf: ReadonlyMap<Block, Node>;
  /** Nodes in the order of their entry numbers; those of the graph's entries come first. */
  readonly entries: readonly Node[];
};

/** Does an edge go by way of the root? */
export const viaRoot = (from: Node, to: Node): boolean => !from.successors.includes(to);
/** Does an edge lead back, to the head of a loop? */
export const leadsBack = (from: Node, to: Node): boolean => from.order >= to.order;

/** Is a node reached from one place only, so that what is known there is known in it? */
export const carries = (node: Node): boolean => node.predecessors.length === 1 && node.entry < 0 && !node.isLoop;

export /** What a block falls through to, if nobody else goes there: it can stand right behind it. */
function inlineChild(node: Node): Node | null {
  const { block } = node;
  if (!block?.falls || block.falls === block.taken) return null;
  const child = node.children.find((c) => c.block === block.falls);
  if (!child || child.entry >= 0) return null;
  return child.predecessors.every((from) => from === node || leadsBack(from, child)) ? child : null;
}

export function structure(graph: Graph): Structure {
  const entries = graph.entries.slice();
  for (;;) {
    const built = build(graph, entries);
    const stray = built.nodes.flatMap((from) => from.successors.filter((to) => leadsBack(from, to) && !dominates(to, from)));
    const added = [...new Set(stray)].filter((node) => node.entry < 0);
    for (const from of built.nodes)
      for (const to of from.successors.slice()) if (leadsBack(from, to) && !dominates(to, from)) remove(from, to);
    if (added.length === 0) {
      for (const node of built.nodes) node.isLoop = node.predecessors.some((from) => leadsBack(from, node));
      return built;
    }
    for (const { block } of added) entries.push(block as Block);
  }
}

function build(graph: Graph, entries: readonly Block[]): Structure {
  const make = (block: Block | null): Node => ({
    block,
    successors: [],
    predecessors: [],
    children: [],
    dominator: null,
    order: -1,
    entry: -1,
    isLoop: false,
  });
  const root = make(null);
  const nodeOf = new Map(graph.blocks.map((block) => [block, make(block)]));
  const connect = (from: Node, to: Node): void => {
    if (from.successors.includes(to)) return;
    from.successors.push(to);
    to.predecessors.push(from);
  };
  for (const [block, node] of nodeOf) for (const to of [block.falls, block.taken]) if (to) connect(node, nodeOf.get(to) as Node);
  entries.forEach((block, n) => {
    const node = nodeOf.get(block) as Node;
    node.entry = n;
    connect(root, node);
  });
  const nodes = reversePostorder(root);
  nodes.forEach((node, n) => {
    node.order = n;
  });
  for (const node of nodes)
    for (const from of node.predecessors.slice()) if (from.order < 0) node.predecessors.splice(node.predecessors.indexOf(from), 1);
  findDominators(root, nodes);
  for (const node of nodes) node.dominator?.children.push(node);
  return { root, nodes, nodeOf, entries: entries.map((block) => nodeOf.get(block) as Node) };
}

function reversePostorder(root: Node): Node[] {
  const seen = new Set([root]);
  const order: Node[] = [];
  const stack: { readonly node: Node; next: number }[] = [{ node: root, next: 0 }];
  for (let top = stack.at(-1); top; top = stack.at(-1)) {
    const to = top.node.successors[top.next++];
    if (!to) {
      order.push(top.node);
      stack.pop();
    } else if (!seen.has(to)) {
      seen.add(to);
      stack.push({ node: to, next: 0 });
    }
  }
  return order.reverse();
}

/** Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", 2001. */
function findDominators(root: Node, nodes: readonly Node[]): void {
  const dominator = new Map<Node, Node>([[root, root]]);
  const meet = (a: Node, b: Node): Node => {
    let x = a;
    let y = b;
    while (x !== y) {
      while (x.order > y.order) x = dominator.get(x) as Node;
      while (y.order > x.order) y = dominator.get(y) as Node;
    }
    return x;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of nodes) {
      if (node === root) continue;
      let found: Node | null = null;
      for (const from of node.predecessors) if (dominator.has(from)) found = found ? meet(found, from) : from;
      if (found && dominator.get(node) !== found) {
        dominator.set(node, found);
        changed = true;
      }
    }
  }
  for (const node of nodes) if (node !== root) node.dominator = dominator.get(node) ?? null;
}

function dominates(a: Node, b: Node): boolean {
  for (let node: Node | null = b; node; node = node.dominator) if (node === a) return true;
  return false;
}

function remove(from: Node, to: Node): void {
  from.successors.splice(from.successors.indexOf(to), 1);
  to.predecessors.splice(to.predecessors.indexOf(from), 1);
}
