package rotator

// Trigger is what moves a rotation from one step to the next.
type Trigger string
