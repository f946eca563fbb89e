// The SSE floating-point instructions by name, as semantics/ hands them to the exact routine (cpu/system/sse-float.ts) by number. Those that
// convert between a scalar and a general register end in the register's width.

// biome-ignore format: a table
export const sseOperations = [
  'addps', 'addpd', 'addss', 'addsd', 'subps', 'subpd', 'subss', 'subsd', 'mulps', 'mulpd', 'mulss', 'mulsd', 'divps', 'divpd', 'divss', 'divsd',
  'sqrtps', 'sqrtpd', 'sqrtss', 'sqrtsd', 'minps', 'minpd', 'minss', 'minsd', 'maxps', 'maxpd', 'maxss', 'maxsd', 'cmpps', 'cmppd', 'cmpss', 'cmpsd',
  'roundps', 'roundpd', 'roundss', 'roundsd', 'haddps', 'haddpd', 'hsubps', 'hsubpd', 'addsubps', 'addsubpd', 'dpps', 'dppd',
  'comiss', 'comisd', 'ucomiss', 'ucomisd', 'rcpps', 'rcpss', 'rsqrtps', 'rsqrtss',
  'cvtss2sd', 'cvtsd2ss', 'cvtps2pd', 'cvtpd2ps', 'cvtdq2ps', 'cvtdq2pd', 'cvtps2dq', 'cvttps2dq', 'cvtpd2dq', 'cvttpd2dq',
  'cvtpi2ps', 'cvtpi2pd', 'cvtps2pi', 'cvttps2pi', 'cvtpd2pi', 'cvttpd2pi',
  'cvtsi2ss32', 'cvtsi2sd32', 'cvtss2si32', 'cvtsd2si32', 'cvttss2si32', 'cvttsd2si32',
  'cvtsi2ss64', 'cvtsi2sd64', 'cvtss2si64', 'cvtsd2si64', 'cvttss2si64', 'cvttsd2si64',
] as const;
export type SseOperation = (typeof sseOperations)[number];
