export * from '../memory/state.ts';
