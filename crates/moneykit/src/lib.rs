//! moneykit
