// The findings of this reader, as the sanitizer's are.

export const taintRules = [
  {
    id: 'taint-private-to-shared',
    title: 'private data where the hypervisor reads it',
    section: 'GHCB 4.1, table 7; APM vol. 2, 15.35.7',
    why: 'A byte that the hypervisor could not have known lies in a page that it can read, or in the GHCB MSR, and no event and no device asked for it.',
    mend: 'Copy to the GHCB only what its event needs, and to other shared memory only what is meant for a device.',
  },
  {
    id: 'taint-branch',
    title: 'a computed branch that the hypervisor steers',
    section: 'GHCB 4.1',
    why: 'The target of an indirect branch or return depends on an answer that was compared with nothing.',
    mend: 'Compare what the hypervisor says with what it may say, on a private copy, before it chooses anything.',
  },
  {
    id: 'taint-address',
    title: 'an access that the hypervisor steers',
    section: 'GHCB 4.1',
    why: 'An address, or how often a repeated instruction runs, depends on an answer that was compared with nothing.',
    mend: 'Read it once into private memory, compare it with its bounds, and use that copy.',
  },
] as const;
/** And the one of the sanitizer's that labels decide in a run in which nobody lies. */
export type TaintRule = (typeof taintRules)[number]['id'] | 'cbit-unverified';
