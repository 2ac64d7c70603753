package model

import "goldstream/personalize/attribute"

// Mask stands for a password in everything that is shown.
const Mask = attribute.Mask

// Password is the type of values that are secret.
const Password = attribute.Password

// Value is the value of a custom attribute. It is a secret if Type is Password.
type Value = attribute.Value

// NewValue returns a value.
func NewValue(name string, kind attribute.Type, text string) Value {
	return attribute.NewValue(name, kind, text)
}
